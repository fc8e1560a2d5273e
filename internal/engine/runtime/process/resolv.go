package process

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// resolvConf renders a pod's resolver configuration.
//
// The kubelet's default option ndots:5 becomes ndots:1. With 5, each name of the outside world with fewer than five
// dots, which is nearly all, is first asked with every search suffix: four questions that fail, twice where both
// address families are wanted, before the one that succeeds. With 1, "service" and "service.namespace" still resolve:
// the first has no dot, and the second is asked with the suffixes after the plain question has failed.
func resolvConf(dns *runtimeapi.DNSConfig) string {
	var b strings.Builder
	for _, s := range dns.GetServers() {
		b.WriteString("nameserver " + s + "\n")
	}
	if s := dns.GetSearches(); len(s) > 0 {
		b.WriteString("search " + strings.Join(s, " ") + "\n")
	}
	options := make([]string, 0, len(dns.GetOptions()))
	for _, o := range dns.GetOptions() {
		if o == "ndots:5" {
			o = "ndots:1"
		}
		options = append(options, o)
	}
	if len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return b.String()
}
