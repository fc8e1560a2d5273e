package traffic

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayPlan is a Gateway of ours and what was decided about it.
type gatewayPlan struct {
	object *gatewayv1.Gateway
	// refused and unusable are why the Gateway is not accepted, or accepted and not served; the zero value if it is.
	refused, unusable verdict
	// unresolved is why a reference of the Gateway itself cannot be used.
	unresolved verdict
	// ignored names the fields that have no effect.
	ignored []string
	// addresses are the Gateway's own. automatic says that one of them is not the user's choice.
	addresses []netip.Addr
	automatic bool
	// client is the certificate shown to backends; nil for none.
	client    *clientCertificate
	listeners []*listenerPlan // the Gateway's own
	sets      []*listenerSetPlan
}

// verdict is the reason and message of a condition that is not as wished. The zero value means that all is well.
type verdict struct{ reason, message string }

func (v verdict) ok() bool { return v.reason == "" }

// addGateways decides about the Gateways of our classes, their ListenerSets and the sockets of both.
func (c *compiler) addGateways() {
	var plans []*gatewayPlan
	for i := range c.Gateways {
		g := &c.Gateways[i]
		if c.classes[string(g.Spec.GatewayClassName)] {
			p := c.decideGateway(g)
			plans = append(plans, p)
			c.gateways[nameOf(g)] = p
		}
	}
	a := newAssigner(c.Network)
	if a.own() {
		a.assign(plans)
		c.given = a.given
	} else {
		refuseAddresses(plans, c.Address)
	}
	c.addListenerSets()
	for _, p := range plans {
		p.settleConflicts()
		for _, l := range p.allListeners() {
			c.settle(p, l)
		}
	}
}

func (c *compiler) decideGateway(g *gatewayv1.Gateway) *gatewayPlan {
	d := &gatewayPlan{object: g, ignored: ignoredGatewayFields(g)}
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		d.refused = verdict{
			string(gatewayv1.GatewayReasonInvalidParameters),
			"spec.infrastructure.parametersRef: this gateway takes no parameters; remove it",
		}
	}
	d.client, d.unresolved = c.clientCertificate(g)
	for i := range g.Spec.Listeners {
		d.listeners = append(d.listeners, c.decideListener(g, kindGateway, g.Namespace, &g.Spec.Listeners[i]))
	}
	return d
}

// notServed is why no listener of the Gateway is served.
func (g *gatewayPlan) notServed() verdict {
	if g.refused.ok() && g.unusable.ok() {
		return verdict{}
	}
	return verdict{string(gatewayv1.ListenerReasonPending), "The Gateway is not served: see its conditions."}
}

// refuseAddresses checks the addresses that Gateways ask for where there is only the platform's.
func refuseAddresses(plans []*gatewayPlan, address string) {
	for _, p := range plans {
		for i, a := range p.object.Spec.Addresses {
			if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
				p.refused = verdict{
					string(gatewayv1.GatewayReasonUnsupportedAddress),
					fmt.Sprintf("spec.addresses[%d]: type %q is not supported; use %q or none", i, *a.Type, gatewayv1.IPAddressType),
				}
			} else if a.Value != "" && a.Value != address {
				p.unusable = verdict{
					string(gatewayv1.GatewayReasonAddressNotUsable),
					fmt.Sprintf("spec.addresses[%d]: this gateway does not listen at %q; remove it", i, a.Value),
				}
			}
		}
	}
}

func ignoredGatewayFields(g *gatewayv1.Gateway) []string {
	var fields []string
	if s := g.Spec.DefaultScope; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		fields = append(fields, "spec.defaultScope")
	}
	for i, l := range g.Spec.Listeners {
		if l.TLS != nil && len(l.TLS.Options) > 0 {
			fields = append(fields, fmt.Sprintf("spec.listeners[%d].tls.options", i))
		}
	}
	return fields
}

// allListeners are the Gateway's own and those of the ListenerSets it allows.
func (g *gatewayPlan) allListeners() []*listenerPlan {
	all := slices.Clone(g.listeners)
	for _, s := range g.sets {
		all = append(all, s.listeners...)
	}
	return all
}

// status writes down what was decided.
func (g *gatewayPlan) status(f *Facts) gatewayv1.GatewayStatus {
	generation := g.object.Generation
	s := gatewayv1.GatewayStatus{Conditions: g.conditions(), Addresses: g.statusAddresses(f)}
	for _, l := range g.listeners {
		s.Listeners = append(s.Listeners, l.status(generation))
	}
	attached := int32(0)
	for _, set := range g.sets {
		if set.verdict(g).ok() {
			attached++
		}
	}
	s.AttachedListenerSets = &attached
	return s
}

// statusAddresses are where the Gateway answers: the platform's socket, if it has it, and its own.
func (g *gatewayPlan) statusAddresses(f *Facts) []gatewayv1.GatewayStatusAddress {
	if !g.notServed().ok() {
		return nil
	}
	var values []string
	if f.Address != "" && (!f.Network.own() || f.Network.Default == nameOf(g.object)) {
		values = append(values, f.Address)
	}
	for _, a := range g.addresses {
		if a.IsValid() {
			values = append(values, a.String())
		}
	}
	var list []gatewayv1.GatewayStatusAddress
	for _, v := range values {
		kind := gatewayv1.IPAddressType
		list = append(list, gatewayv1.GatewayStatusAddress{Type: &kind, Value: v})
	}
	return list
}

func (g *gatewayPlan) conditions() []metav1.Condition {
	generation := g.object.Generation
	accepted := g.refused
	programmed := g.refused
	if programmed.ok() {
		programmed = g.unusable
	}
	note := verdict{string(gatewayv1.GatewayReasonAccepted), "The Gateway is served."}
	if len(g.ignored) > 0 {
		note.message += " Without effect, because not supported: " + strings.Join(g.ignored, ", ") + "."
	}
	bad := notServing(g.listeners)
	if g.notServed().ok() && len(bad) > 0 {
		note = verdict{
			string(gatewayv1.GatewayReasonListenersNotValid),
			"Listeners that are not served: " + strings.Join(bad, ", ") + ". See their conditions.",
		}
	}
	if g.notServed().ok() && len(bad) == len(g.listeners) {
		accepted = note
		programmed = verdict{string(gatewayv1.GatewayReasonInvalid), note.message}
	}
	conditions := []metav1.Condition{
		condition(string(gatewayv1.GatewayConditionAccepted), generation, accepted, note),
		condition(string(gatewayv1.GatewayConditionProgrammed), generation, programmed,
			verdict{string(gatewayv1.GatewayReasonProgrammed), "Requests are answered."}),
		condition(string(gatewayv1.GatewayConditionResolvedRefs), generation, g.unresolved,
			verdict{string(gatewayv1.GatewayReasonResolvedRefs), "All references are resolved."}),
	}
	if insecurePort := g.insecure(); insecurePort != "" {
		conditions = append(conditions, metav1.Condition{
			Type: string(gatewayv1.GatewayConditionInsecureFrontendValidationMode), Status: metav1.ConditionTrue,
			ObservedGeneration: generation, Reason: string(gatewayv1.GatewayReasonConfigurationChanged),
			Message: insecurePort + ` has the mode "AllowInsecureFallback": clients without a valid certificate pass.`,
		})
	}
	return conditions
}

// insecure names the first field by which clients without a valid certificate pass.
func (g *gatewayPlan) insecure() string {
	if g.object.Spec.TLS == nil || g.object.Spec.TLS.Frontend == nil {
		return ""
	}
	f := g.object.Spec.TLS.Frontend
	lax := func(v *gatewayv1.FrontendTLSValidation) bool {
		return v != nil && v.Mode == gatewayv1.AllowInsecureFallback
	}
	if lax(f.Default.Validation) {
		return "spec.tls.frontend.default"
	}
	for i, p := range f.PerPort {
		if lax(p.TLS.Validation) {
			return fmt.Sprintf("spec.tls.frontend.perPort[%d]", i)
		}
	}
	return ""
}

// notServing names the listeners that take no connections.
func notServing(listeners []*listenerPlan) []string {
	var names []string
	for _, l := range listeners {
		if !l.serves() {
			names = append(names, fmt.Sprintf("%q", l.spec.Name))
		}
	}
	return names
}

// listenerSetPlan is a ListenerSet whose parent is a Gateway of ours.
type listenerSetPlan struct {
	object    *gatewayv1.ListenerSet
	refused   verdict
	gateway   *gatewayPlan
	listeners []*listenerPlan
}

// addListenerSets gives each ListenerSet to its Gateway, in the order in which they have precedence.
func (c *compiler) addListenerSets() {
	var plans []*listenerSetPlan
	for i := range c.ListenerSets {
		s := &c.ListenerSets[i]
		if p := c.listenerSet(s); p != nil {
			plans = append(plans, p)
			c.sets[nameOf(s)] = p
		}
	}
	slices.SortFunc(plans, func(p, q *listenerSetPlan) int {
		return cmp.Or(p.object.CreationTimestamp.Compare(q.object.CreationTimestamp.Time),
			cmp.Compare(nameOf(p.object).String(), nameOf(q.object).String()))
	})
	for _, p := range plans {
		if p.refused.ok() {
			p.gateway.sets = append(p.gateway.sets, p)
		}
	}
}

func (c *compiler) listenerSet(s *gatewayv1.ListenerSet) *listenerSetPlan {
	ref := s.Spec.ParentRef
	if ref.Group != nil && *ref.Group != gatewayv1.GroupName || ref.Kind != nil && *ref.Kind != kindGateway {
		return nil
	}
	name := types.NamespacedName{Namespace: s.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	g := c.gateways[name]
	if g == nil {
		return nil
	}
	p := &listenerSetPlan{object: s, gateway: g}
	if !c.allowsSet(g.object, s.Namespace) {
		p.refused = verdict{
			string(gatewayv1.ListenerSetReasonNotAllowed),
			fmt.Sprintf("Gateway %q takes no ListenerSet of namespace %q: see its spec.allowedListeners.", name, s.Namespace),
		}
	} else if !g.notServed().ok() {
		p.refused = verdict{
			string(gatewayv1.ListenerSetReasonParentNotAccepted), fmt.Sprintf("Gateway %q is not served: see its conditions.", name),
		}
	}
	for i := range s.Spec.Listeners {
		spec := gatewayv1.Listener(s.Spec.Listeners[i])
		p.listeners = append(p.listeners, c.decideListener(g.object, kindListenerSet, s.Namespace, &spec))
	}
	return p
}

func (c *compiler) allowsSet(g *gatewayv1.Gateway, namespace string) bool {
	a := g.Spec.AllowedListeners
	if a == nil || a.Namespaces == nil || a.Namespaces.From == nil {
		return false
	}
	return c.selects(*a.Namespaces.From, a.Namespaces.Selector, g.Namespace, namespace)
}

// verdict is why the set is not accepted.
func (s *listenerSetPlan) verdict(g *gatewayPlan) verdict {
	switch {
	case !s.refused.ok():
		return s.refused
	case !g.notServed().ok():
		return verdict{string(gatewayv1.ListenerSetReasonParentNotAccepted), "The Gateway is not served: see its conditions."}
	}
	if bad := notServing(s.listeners); len(bad) == len(s.listeners) {
		return verdict{
			string(gatewayv1.ListenerSetReasonListenersNotValid),
			"Listeners that are not served: " + strings.Join(bad, ", ") + ". See their conditions.",
		}
	}
	return verdict{}
}

func (s *listenerSetPlan) status() gatewayv1.ListenerSetStatus {
	generation := s.object.Generation
	v := s.verdict(s.gateway)
	note := verdict{string(gatewayv1.ListenerSetReasonAccepted), "The listeners are served."}
	if bad := notServing(s.listeners); len(bad) > 0 && v.ok() {
		note = verdict{
			string(gatewayv1.ListenerSetReasonListenersNotValid),
			"Listeners that are not served: " + strings.Join(bad, ", ") + ". See their conditions.",
		}
	}
	st := gatewayv1.ListenerSetStatus{Conditions: []metav1.Condition{
		condition(string(gatewayv1.ListenerSetConditionAccepted), generation, v, note),
		condition(string(gatewayv1.ListenerSetConditionProgrammed), generation, v,
			verdict{string(gatewayv1.ListenerSetReasonProgrammed), "Requests are answered."}),
	}}
	if !s.refused.ok() {
		return st
	}
	for _, l := range s.listeners {
		st.Listeners = append(st.Listeners, gatewayv1.ListenerEntryStatus(l.status(generation)))
	}
	return st
}

// condition is True with the reason of well, unless bad says otherwise.
func condition(kind string, generation int64, bad, well verdict) metav1.Condition {
	c := metav1.Condition{
		Type: kind, ObservedGeneration: generation,
		Status: metav1.ConditionTrue, Reason: well.reason, Message: well.message,
	}
	if !bad.ok() {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, bad.reason, bad.message
	}
	return c
}
