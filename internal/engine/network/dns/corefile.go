package dns

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// zone is the domain of the cluster's names.
const zone = "cluster.local."

// directives are those of CoreDNS that are linked, in the order a question passes them. Services come before the cache:
// their answers are in memory already, and a cached one would be old.
var directives = []string{"bind", "errors", "loadbalance", servicesDirective, "cache", "template", "forward"}

// quietErrors makes a resolver that does not answer one line per minute instead of one per question.
const quietErrors = `    errors {
        consolidate 1m ".*" warning
    }
`

// clusterCorefile configures the cluster's resolver to ask outside, host:port each, for names that are not the
// cluster's. Without any it answers at once that it cannot.
//
// A minute's answer of the outside is kept as long as it says; "no such name" half a minute, so that a new name shows
// up soon; a failure one second.
func clusterCorefile(cfg ClusterConfig, outside []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".:53 {\n    bind %s\n%s    loadbalance\n", cfg.Address, quietErrors)
	fmt.Fprintf(&b, "    %s cluster.local in-addr.arpa ip6.arpa {\n        kubeconfig %s\n        pods disabled\n        ttl 5\n        fallthrough in-addr.arpa ip6.arpa\n    }\n",
		servicesDirective, quote(cfg.Kubeconfig))
	if len(outside) == 0 {
		b.WriteString("    template ANY ANY . {\n        rcode SERVFAIL\n    }\n}\n")
		return b.String()
	}
	b.WriteString(`    cache 3600 {
        success 9984 3600 0
        denial 9984 30 0
        servfail 1s
        prefetch 5 1m 10%
        serve_stale 1h verify 1500ms
    }
`)
	fmt.Fprintf(&b, `    forward . %s {
        policy sequential
        max_connect_attempts %d
        max_concurrent 1000
        failfast_all_unhealthy_upstreams
    }
}
`, strings.Join(outside, " "), len(outside)+1)
	return b.String()
}

// nodeCorefile configures a node's cache. The cluster's resolver is on the same machine and says by the time to live how
// long an answer holds; only "no such name" is forgotten sooner, so that a new Service is found within a second. It
// waits for the cluster's resolver longer than that waits for the outside.
func nodeCorefile(cfg NodeConfig) string {
	return fmt.Sprintf(`.:53 {
    bind %s
%s    loadbalance
    cache 3600 {
        success 9984 3600 0
        denial 4096 1 0
        servfail 1s
        prefetch 5 30s 20%%
        serve_stale 1h verify 4s
    }
    forward . %s {
        read_timeout 6s
        max_connect_attempts 2
        max_concurrent 1000
    }
}
`, cfg.Address, quietErrors, cfg.Upstream)
}

// quote makes s one word of a Corefile.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// readResolvers lists the resolvers in a file like /etc/resolv.conf, less those at own's network, which would ask back.
// A file that cannot be read, or is not finished, names none.
func readResolvers(path string, own netip.Addr) []string {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	return resolvers(conf.Servers, conf.Port, own)
}

// maxResolvers is how many resolvers the forwarder takes; files name three at most, see resolv.conf(5).
const maxResolvers = 15

// resolvers selects the addresses that can be asked. One with a zone, which needs an interface, cannot.
func resolvers(servers []string, port string, own netip.Addr) []string {
	ours := netip.PrefixFrom(own, 15)
	var found []string
	for _, s := range servers {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || ours.Contains(a.Unmap()) || len(found) == maxResolvers {
			continue
		}
		if a.Is4() {
			found = append(found, s+":"+port)
		} else {
			found = append(found, "["+s+"]:"+port)
		}
	}
	return found
}
