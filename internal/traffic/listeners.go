package traffic

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// listenerPlan is a listener of a Gateway or ListenerSet and what was decided about it.
type listenerPlan struct {
	spec      *gatewayv1.Listener
	namespace string // of the object that holds it
	hostname  string // lower case; "" for every name
	// refused is why it is not accepted, conflict which conflict is the reason, unready why an accepted one is not served,
	// and unresolved which reference is not good.
	refused, conflict, unready, unresolved verdict
	// kinds are the kinds of routes it takes.
	kinds []string
	// terminator is what TLS is terminated with; nil without TLS, and where it is passed through.
	terminator *terminator
	// tables hold its routes: one for its own sockets, and one for the platform's where it answers there as well.
	tables []*listenerTable
	// hosts are those of the routes it took, by kind of route, with how many have each. disputed are host names that it
	// refused a route for, because a route of another kind has them.
	hosts    map[string]map[string]int
	disputed []string
	attached int32
}

// routeKinds are the kinds of routes that listeners of a protocol take.
var routeKinds = map[gatewayv1.ProtocolType][]string{
	gatewayv1.HTTPProtocolType:  {kindHTTPRoute, kindGRPCRoute},
	gatewayv1.HTTPSProtocolType: {kindHTTPRoute, kindGRPCRoute},
	gatewayv1.TLSProtocolType:   {kindTLSRoute},
}

// decideListener decides all that does not depend on other listeners. kind and namespace are of the object that holds
// it.
func (c *compiler) decideListener(g *gatewayv1.Gateway, kind gatewayv1.Kind, namespace string, spec *gatewayv1.Listener) *listenerPlan {
	l := &listenerPlan{spec: spec, namespace: namespace, hosts: map[string]map[string]int{}}
	if spec.Hostname != nil {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	l.kinds, l.unresolved = decideKinds(spec)
	switch {
	case routeKinds[spec.Protocol] == nil:
		l.refused = verdict{
			string(gatewayv1.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("Protocol %q is not supported by this gateway: use HTTP, HTTPS or TLS.", spec.Protocol),
		}
	case spec.Protocol != gatewayv1.HTTPProtocolType && !c.Network.own():
		l.refused = verdict{
			string(gatewayv1.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("Protocol %q needs a port of its own, which this gateway cannot open here: use HTTP.", spec.Protocol),
		}
	case spec.Protocol != gatewayv1.HTTPProtocolType && !l.passthrough():
		c.decideTLS(g, kind, l)
	}
	return l
}

func (l *listenerPlan) passthrough() bool {
	t := l.spec.TLS
	return l.spec.Protocol == gatewayv1.TLSProtocolType && t != nil && t.Mode != nil && *t.Mode == gatewayv1.TLSModePassthrough
}

// decideKinds finds the kinds of routes a listener takes, and those it asks for that this gateway does not know.
func decideKinds(spec *gatewayv1.Listener) (kinds []string, bad verdict) {
	possible := routeKinds[spec.Protocol]
	if spec.AllowedRoutes == nil || len(spec.AllowedRoutes.Kinds) == 0 {
		return possible, verdict{}
	}
	for _, k := range spec.AllowedRoutes.Kinds {
		if slices.Contains(possible, string(k.Kind)) && (k.Group == nil || *k.Group == gatewayv1.GroupName) {
			kinds = append(kinds, string(k.Kind))
			continue
		}
		bad = verdict{
			string(gatewayv1.ListenerReasonInvalidRouteKinds),
			fmt.Sprintf("Routes of kind %q are not supported on a listener of protocol %q.", k.Kind, spec.Protocol),
		}
	}
	return kinds, bad
}

// decideTLS reads what TLS is terminated with.
func (c *compiler) decideTLS(g *gatewayv1.Gateway, kind gatewayv1.Kind, l *listenerPlan) {
	var certificates []tls.Certificate
	var refs []gatewayv1.SecretObjectReference
	if l.spec.TLS != nil {
		refs = l.spec.TLS.CertificateRefs
	}
	if len(refs) == 0 {
		l.unresolve(errors.New("tls.certificateRefs names no certificate"))
	}
	for i := range refs {
		pair, err := c.certificate(kind, l.namespace, &refs[i])
		if err != nil {
			l.unresolve(fmt.Errorf("tls.certificateRefs[%d]: %w", i, err))
			continue
		}
		certificates = append(certificates, pair)
	}
	var clients *authorities
	insecure := false
	if v := frontendValidation(g, l.spec); v != nil {
		clients, insecure = c.clientAuthorities(g, l, v), v.Mode == gatewayv1.AllowInsecureFallback
	}
	if len(certificates) == 0 && l.refused.ok() {
		l.unready = verdict{string(gatewayv1.ListenerReasonInvalid), l.unresolved.message}
	}
	if len(certificates) > 0 && l.refused.ok() {
		l.terminator = newTerminator(certificates, clients, insecure, l.spec.Protocol == gatewayv1.HTTPSProtocolType)
	}
}

func (l *listenerPlan) unresolve(err error) {
	reason := gatewayv1.ListenerReasonInvalidCertificateRef
	var ref *referenceError
	if errors.As(err, &ref) && ref.cause == notPermitted {
		reason = gatewayv1.ListenerReasonRefNotPermitted
	}
	l.unresolved = verdict{string(reason), err.Error() + "."}
}

// frontendValidation is how the certificates of an HTTPS listener's clients are checked; nil where they are not.
func frontendValidation(g *gatewayv1.Gateway, l *gatewayv1.Listener) *gatewayv1.FrontendTLSValidation {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil || l.Protocol != gatewayv1.HTTPSProtocolType {
		return nil
	}
	for _, p := range g.Spec.TLS.Frontend.PerPort {
		if p.Port == l.Port {
			return p.TLS.Validation
		}
	}
	return g.Spec.TLS.Frontend.Default.Validation
}

// clientAuthorities are those that sign the certificates of clients. A listener without any that can be read is refused:
// it would let everybody in.
func (c *compiler) clientAuthorities(g *gatewayv1.Gateway, l *listenerPlan, v *gatewayv1.FrontendTLSValidation) *authorities {
	a := &authorities{}
	good := 0
	for i := range v.CACertificateRefs {
		err := a.add(c.index, kindGateway, g.Namespace, &v.CACertificateRefs[i])
		if err == nil {
			good++
			continue
		}
		reason := gatewayv1.ListenerReasonInvalidCACertificateRef
		var ref *referenceError
		if errors.As(err, &ref) {
			switch ref.cause {
			case invalidKind:
				reason = gatewayv1.ListenerReasonInvalidCACertificateKind
			case notPermitted:
				reason = gatewayv1.ListenerReasonRefNotPermitted
			}
		}
		l.unresolved = verdict{string(reason), fmt.Sprintf("The Gateway's spec.tls.frontend, caCertificateRefs[%d]: %v.", i, err)}
	}
	if good == 0 {
		l.refused = verdict{
			string(gatewayv1.ListenerReasonNoValidCACertificate),
			"No authority for the certificates of clients can be read: see the condition ResolvedRefs.",
		}
	}
	return a
}

// takes says whether routes of a kind may attach.
func (l *listenerPlan) takes(kind string) bool { return slices.Contains(l.kinds, kind) }

// serves says whether connections are taken.
func (l *listenerPlan) serves() bool { return l.refused.ok() && l.unready.ok() && len(l.kinds) > 0 }

// allowsNamespace says whether routes of a namespace may attach. An unreadable selector allows none.
func (l *listenerPlan) allowsNamespace(x *index, route string) bool {
	from, selector := gatewayv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		selector = a.Namespaces.Selector
		if a.Namespaces.From != nil {
			from = *a.Namespaces.From
		}
	}
	return x.selects(from, selector, l.namespace, route)
}

// selects says whether a rule about namespaces, in an object of namespace own, lets one in.
func (x *index) selects(from gatewayv1.FromNamespaces, selector *metav1.LabelSelector, own, namespace string) bool {
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return own == namespace
	case gatewayv1.NamespacesFromSelector:
		x.selecting = true
		s, err := metav1.LabelSelectorAsSelector(selector)
		ns := x.namespaces[namespace]
		return err == nil && ns != nil && s.Matches(labels.Set(ns.Labels))
	}
	return false
}

// settleConflicts refuses listeners that share a port and cannot be told apart: all of them among the Gateway's own, and
// the later ones of ListenerSets.
func (g *gatewayPlan) settleConflicts() {
	collisions := map[*listenerPlan]verdict{}
	for i, l := range g.listeners {
		for _, other := range g.listeners[i+1:] {
			if v := conflict(l, other); l.refused.ok() && other.refused.ok() && !v.ok() {
				collisions[l], collisions[other] = v, v
			}
		}
	}
	earlier := slices.Clone(g.listeners)
	for _, s := range g.sets {
		for _, l := range s.listeners {
			for _, other := range earlier {
				if v := conflict(other, l); l.conflict.ok() && other.refused.ok() && !v.ok() {
					l.collide(v)
				}
			}
			earlier = append(earlier, l)
		}
	}
	for l, v := range collisions {
		l.collide(v)
	}
}

func (l *listenerPlan) collide(v verdict) { l.refused, l.conflict = v, v }

// conflict is why connections to one listener cannot be told from those to another.
func conflict(a, b *listenerPlan) verdict {
	switch {
	case a.spec.Port != b.spec.Port:
		return verdict{}
	case layer(a.spec.Protocol) != layer(b.spec.Protocol):
		return verdict{
			string(gatewayv1.ListenerReasonProtocolConflict),
			fmt.Sprintf("Another listener has port %d with protocol %q: choose another port.", a.spec.Port, a.spec.Protocol),
		}
	case a.hostname == b.hostname:
		return verdict{
			string(gatewayv1.ListenerReasonHostnameConflict),
			fmt.Sprintf("Another listener has port %d and host name %q: choose another host name or port.", a.spec.Port, a.hostname),
		}
	}
	return verdict{}
}

// layer is what a connection starts with, by which listeners of one port are told apart.
func layer(p gatewayv1.ProtocolType) gatewayv1.ProtocolType {
	if p == gatewayv1.HTTPSProtocolType {
		return gatewayv1.TLSProtocolType
	}
	return p
}

// settle makes the sockets of a listener and the tables its routes go to.
func (c *compiler) settle(g *gatewayPlan, l *listenerPlan) {
	if v := g.notServed(); l.refused.ok() && !v.ok() {
		l.refused = v
	}
	if !l.serves() {
		return
	}
	onPlatform := !c.Network.own() || c.Network.Default == nameOf(g.object)
	if onPlatform && l.spec.Protocol == gatewayv1.HTTPProtocolType {
		l.tables = append(l.tables, c.table.socket(SocketKey{}).listener(l.hostname))
	}
	if !c.Network.own() {
		return
	}
	own := &listenerTable{passthrough: l.passthrough(), stream: l.spec.Protocol == gatewayv1.TLSProtocolType}
	if l.terminator != nil {
		own.terminator = c.terminator(l.terminator)
	}
	for _, address := range g.addresses {
		key := SocketKey{Address: address, Port: l.spec.Port}
		if why := c.Network.Closed[key]; why != "" {
			l.unready = verdict{string(gatewayv1.ListenerReasonPortUnavailable), fmt.Sprintf("Port %d of %s cannot be opened: %s.", key.Port, addressText(key.Address), why)}
		}
		s := c.table.socket(key)
		s.secure = s.secure || l.spec.Protocol != gatewayv1.HTTPProtocolType
		s.passthrough = s.passthrough || own.passthrough
		if _, taken := s.listeners.at(l.hostname); !taken {
			s.listeners.set(l.hostname, own)
		}
	}
	l.tables = append(l.tables, own)
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return "this machine"
	}
	return a.String()
}

func (l *listenerPlan) status(generation int64) gatewayv1.ListenerStatus {
	programmed := l.refused
	if !programmed.ok() && l.conflict.ok() {
		programmed.reason = string(gatewayv1.ListenerReasonInvalid)
	}
	if programmed.ok() {
		programmed = l.unready
	}
	if programmed.ok() && len(l.kinds) == 0 {
		programmed = verdict{string(gatewayv1.ListenerReasonInvalid), l.unresolved.message}
	}
	s := gatewayv1.ListenerStatus{
		Name:           l.spec.Name,
		AttachedRoutes: l.attached,
		SupportedKinds: []gatewayv1.RouteGroupKind{},
		Conditions: []metav1.Condition{
			condition(string(gatewayv1.ListenerConditionAccepted), generation, l.refused,
				verdict{string(gatewayv1.ListenerReasonAccepted), "The listener is accepted."}),
			condition(string(gatewayv1.ListenerConditionProgrammed), generation, programmed,
				verdict{string(gatewayv1.ListenerReasonProgrammed), "Requests are answered."}),
			condition(string(gatewayv1.ListenerConditionResolvedRefs), generation, l.unresolved,
				verdict{string(gatewayv1.ListenerReasonResolvedRefs), "All references are resolved."}),
			l.conflicted(generation),
		},
	}
	group := gatewayv1.Group(gatewayv1.GroupName)
	for _, k := range l.kinds {
		s.SupportedKinds = append(s.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(k)})
	}
	return s
}

// conflicted is the one condition that is good when it is false.
func (l *listenerPlan) conflicted(generation int64) metav1.Condition {
	c := metav1.Condition{
		Type: string(gatewayv1.ListenerConditionConflicted), Status: metav1.ConditionFalse, ObservedGeneration: generation,
		Reason: string(gatewayv1.ListenerReasonNoConflicts), Message: "No other listener is in the way.",
	}
	if !l.conflict.ok() {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, l.conflict.reason, l.conflict.message
	}
	return c
}
