package traffic

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayPlan is a Gateway of ours and what was decided about it.
type gatewayPlan struct {
	object *gatewayv1.Gateway
	// refused and unusable are why the Gateway is not accepted, or accepted and not served; the zero value if it is.
	refused, unusable verdict
	// ignored names the fields that have no effect.
	ignored   []string
	listeners []*listenerPlan
}

// listenerPlan is a listener of a Gateway and what was decided about it.
type listenerPlan struct {
	spec     *gatewayv1.Listener
	hostname string // lower case; "" for every name
	refused  verdict
	kinds    verdict // why allowedRoutes.kinds is not satisfied
	// takesRoutes says that HTTPRoutes are among the kinds it allows.
	takesRoutes bool
	attached    int32
}

// verdict is the reason and message of a condition that is not as wished. The zero value means that all is well.
type verdict struct{ reason, message string }

func (v verdict) ok() bool { return v.reason == "" }

func decideGateway(g *gatewayv1.Gateway, address string) *gatewayPlan {
	d := &gatewayPlan{object: g, ignored: ignoredGatewayFields(g)}
	d.refused, d.unusable = decideAddresses(g, address)
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		d.refused = verdict{
			string(gatewayv1.GatewayReasonInvalidParameters),
			"spec.infrastructure.parametersRef: this gateway takes no parameters; remove it",
		}
	}
	for i := range g.Spec.Listeners {
		l := decideListener(&g.Spec.Listeners[i])
		if l.refused.ok() {
			l.refused = d.notServed()
		}
		d.listeners = append(d.listeners, l)
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

// decideAddresses checks the addresses that the Gateway asks for: there is one, and it cannot be chosen.
func decideAddresses(g *gatewayv1.Gateway, address string) (refused, unusable verdict) {
	for i, a := range g.Spec.Addresses {
		if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
			refused = verdict{
				string(gatewayv1.GatewayReasonUnsupportedAddress),
				fmt.Sprintf("spec.addresses[%d]: type %q is not supported; use %q or none", i, *a.Type, gatewayv1.IPAddressType),
			}
		} else if a.Value != "" && a.Value != address {
			unusable = verdict{
				string(gatewayv1.GatewayReasonAddressNotUsable),
				fmt.Sprintf("spec.addresses[%d]: this gateway does not listen at %q; remove it", i, a.Value),
			}
		}
	}
	return refused, unusable
}

func ignoredGatewayFields(g *gatewayv1.Gateway) []string {
	var fields []string
	if i := g.Spec.Infrastructure; i != nil && len(i.Labels)+len(i.Annotations) > 0 {
		fields = append(fields, "spec.infrastructure")
	}
	if a := g.Spec.AllowedListeners; a != nil && a.Namespaces != nil && a.Namespaces.From != nil &&
		*a.Namespaces.From != gatewayv1.NamespacesFromNone {
		fields = append(fields, "spec.allowedListeners")
	}
	if g.Spec.TLS != nil {
		fields = append(fields, "spec.tls")
	}
	if s := g.Spec.DefaultScope; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		fields = append(fields, "spec.defaultScope")
	}
	return fields
}

func decideListener(spec *gatewayv1.Listener) *listenerPlan {
	l := &listenerPlan{spec: spec}
	if spec.Hostname != nil {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	if spec.Protocol != gatewayv1.HTTPProtocolType {
		l.refused = verdict{
			string(gatewayv1.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("Protocol %q is not supported by this gateway: use %q.", spec.Protocol, gatewayv1.HTTPProtocolType),
		}
	}
	l.takesRoutes, l.kinds = decideKinds(spec)
	return l
}

// decideKinds looks for HTTPRoute among the kinds a listener allows, and for kinds that this gateway does not know.
func decideKinds(spec *gatewayv1.Listener) (takesRoutes bool, kinds verdict) {
	if spec.AllowedRoutes == nil || len(spec.AllowedRoutes.Kinds) == 0 {
		return spec.Protocol == gatewayv1.HTTPProtocolType, verdict{}
	}
	for _, k := range spec.AllowedRoutes.Kinds {
		if k.Kind == kindHTTPRoute && (k.Group == nil || *k.Group == gatewayv1.GroupName) {
			takesRoutes = spec.Protocol == gatewayv1.HTTPProtocolType
			continue
		}
		kinds = verdict{
			string(gatewayv1.ListenerReasonInvalidRouteKinds),
			fmt.Sprintf("Routes of kind %q are not supported by this gateway: use %q.", k.Kind, kindHTTPRoute),
		}
	}
	return takesRoutes, kinds
}

func (l *listenerPlan) serves() bool { return l.refused.ok() && l.takesRoutes }

// allowsNamespace says whether routes of a namespace may attach. An unreadable selector allows none.
func (l *listenerPlan) allowsNamespace(x *index, gateway, route string) bool {
	from, selector := gatewayv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		selector = a.Namespaces.Selector
		if a.Namespaces.From != nil {
			from = *a.Namespaces.From
		}
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return gateway == route
	case gatewayv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		ns := x.namespaces[route]
		return err == nil && ns != nil && s.Matches(labels.Set(ns.Labels))
	}
	return false
}

// status writes down what was decided.
func (g *gatewayPlan) status(address string) gatewayv1.GatewayStatus {
	generation := g.object.Generation
	s := gatewayv1.GatewayStatus{Conditions: g.conditions()}
	if address != "" && g.notServed().ok() {
		kind := gatewayv1.IPAddressType
		s.Addresses = []gatewayv1.GatewayStatusAddress{{Type: &kind, Value: address}}
	}
	for _, l := range g.listeners {
		s.Listeners = append(s.Listeners, l.status(generation))
	}
	return s
}

func (g *gatewayPlan) conditions() []metav1.Condition {
	accepted := g.refused
	programmed := g.refused
	if programmed.ok() {
		programmed = g.unusable
	}
	var bad []string
	for _, l := range g.listeners {
		if !l.refused.ok() {
			bad = append(bad, fmt.Sprintf("%q", l.spec.Name))
		}
	}
	note := verdict{string(gatewayv1.GatewayReasonAccepted), "The Gateway is served."}
	if len(g.ignored) > 0 {
		note.message += " Without effect, because not supported: " + strings.Join(g.ignored, ", ") + "."
	}
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
	generation := g.object.Generation
	return []metav1.Condition{
		condition(string(gatewayv1.GatewayConditionAccepted), generation, accepted, note),
		condition(string(gatewayv1.GatewayConditionProgrammed), generation, programmed,
			verdict{string(gatewayv1.GatewayReasonProgrammed), "Requests are answered."}),
	}
}

func (l *listenerPlan) status(generation int64) gatewayv1.ListenerStatus {
	programmed := l.refused
	if !programmed.ok() {
		programmed.reason = string(gatewayv1.ListenerReasonInvalid)
	}
	s := gatewayv1.ListenerStatus{
		Name:           l.spec.Name,
		AttachedRoutes: l.attached,
		SupportedKinds: []gatewayv1.RouteGroupKind{},
		Conditions: []metav1.Condition{
			condition(string(gatewayv1.ListenerConditionAccepted), generation, l.refused,
				verdict{string(gatewayv1.ListenerReasonAccepted), "The listener is served on the gateway's socket, whatever its port."}),
			condition(string(gatewayv1.ListenerConditionProgrammed), generation, programmed,
				verdict{string(gatewayv1.ListenerReasonProgrammed), "Requests are answered."}),
			condition(string(gatewayv1.ListenerConditionResolvedRefs), generation, l.kinds,
				verdict{string(gatewayv1.ListenerReasonResolvedRefs), "All references are resolved."}),
			{
				Type: string(gatewayv1.ListenerConditionConflicted), Status: metav1.ConditionFalse, ObservedGeneration: generation,
				Reason: string(gatewayv1.ListenerReasonNoConflicts), Message: "No other listener is in the way.",
			},
		},
	}
	if l.takesRoutes {
		group := gatewayv1.Group(gatewayv1.GroupName)
		s.SupportedKinds = append(s.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: kindHTTPRoute})
	}
	return s
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
