package dns

import (
	"context"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/miekg/dns"
)

// servicesDirective names the handler below in a Corefile. It takes what CoreDNS's "kubernetes" takes.
const servicesDirective = "services"

// services answers for Services. It is CoreDNS's kubernetes handler, with short names added.
//
// With ndots 1 a resolver library asks for "api.shop" as it is before it tries search domains, and musl's never tries
// them. So the server itself looks for the Service first, in memory, and answers under the name that was asked. That a
// Service wins over a domain of the outside with the same name is what search domains with ndots 5 do, too.
type services struct {
	*kubernetes.Kubernetes
	next plugin.Handler
}

// setupServices does what CoreDNS's own setup of "kubernetes" does, except that it leaves this process's logger alone.
func setupServices(c *caddy.Controller) error {
	c.Next()
	k, err := kubernetes.ParseStanza(c)
	if err != nil {
		return plugin.Error(servicesDirective, err)
	}
	onStart, onStop, err := k.InitKubeCache(context.Background())
	if err != nil {
		return plugin.Error(servicesDirective, err)
	}
	c.OnStartup(onStart)
	c.OnShutdown(onStop)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		k.Next = next
		return services{Kubernetes: k, next: next}
	})
	return nil
}

// ServeDNS implements plugin.Handler.
func (s services) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if answer := s.short(ctx, w, r); answer != nil {
		if err := w.WriteMsg(answer); err != nil {
			return dns.RcodeServerFailure, err
		}
		return dns.RcodeSuccess, nil
	}
	return s.Kubernetes.ServeDNS(ctx, w, r)
}

// short is the answer to a question for a Service by a short name; nil if it is not one.
func (s services) short(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) *dns.Msg {
	if len(r.Question) != 1 || r.Question[0].Qtype != dns.TypeA && r.Question[0].Qtype != dns.TypeAAAA {
		return nil
	}
	name := r.Question[0].Name
	full, ok := expand(name)
	if !ok {
		return nil
	}
	question := r.Copy()
	question.Question[0].Name = full
	inner := nonwriter.New(w)
	if _, err := s.Kubernetes.ServeDNS(ctx, inner, question); err != nil || inner.Msg == nil {
		return nil
	}
	answer := inner.Msg
	if answer.Rcode != dns.RcodeSuccess && !endsInSvc(name) {
		return nil
	}
	answer.Question = r.Question
	for _, rr := range answer.Answer {
		if h := rr.Header(); strings.EqualFold(h.Name, full) {
			h.Name = name
		}
	}
	return answer
}

// expand is the full name that a short one stands for: "service.namespace", "pod.service.namespace", or either with
// ".svc" behind it. A single word needs the namespace of who asks, which its search domains add.
func expand(name string) (string, bool) {
	labels := dns.CountLabel(name)
	svc := endsInSvc(name)
	switch {
	case svc && (labels == 3 || labels == 4):
		return name + zone, true
	case !svc && (labels == 2 || labels == 3):
		return name + "svc." + zone, true
	}
	return "", false
}

// endsInSvc tells whether a name is meant for the cluster only: the outside has no domain "svc".
func endsInSvc(name string) bool {
	last, _ := dns.PrevLabel(name, 1)
	return strings.EqualFold(name[last:], "svc.")
}
