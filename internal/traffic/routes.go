package traffic

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routePlan is an HTTPRoute and what was decided about its rules, whichever Gateway it is attached to.
type routePlan struct {
	object  *gatewayv1.HTTPRoute
	entries []*entry
	// dropped and failing are rules that are not served as written, each with the fields that are the reason. Requests
	// to a failing one are answered 500; a dropped one is as if it were not there.
	dropped, failing []string
	// ignored names fields without which the rules are served.
	ignored []string
	// unresolved is the reason of the first backend that cannot be used, and every message.
	unresolved verdict
}

// addRoute attaches a route to the listeners its parents name, and returns the status of each parent of ours.
func (c *compiler) addRoute(object *gatewayv1.HTTPRoute) []gatewayv1.RouteParentStatus {
	var parents []gatewayv1.RouteParentStatus
	var r *routePlan
	type place struct{ listener, host string }
	attached := map[place]bool{}
	for _, ref := range object.Spec.ParentRefs {
		g := c.parent(object, ref)
		if g == nil {
			continue
		}
		if r == nil {
			r = c.route(object)
		}
		bindings, refused := c.bind(g, ref, object)
		for _, b := range bindings {
			if !r.invalid() {
				b.listener.attached++
			}
			for _, host := range b.hosts {
				if p := (place{b.listener.hostname, host}); !attached[p] {
					attached[p] = true
					c.attach(p.listener, p.host, r.entries)
				}
			}
		}
		parents = append(parents, gatewayv1.RouteParentStatus{
			ParentRef: ref, ControllerName: ControllerName, Conditions: r.conditions(refused),
		})
	}
	return parents
}

// parent is the Gateway of ours that a reference names, or nil.
func (c *compiler) parent(r *gatewayv1.HTTPRoute, ref gatewayv1.ParentReference) *gatewayPlan {
	if ref.Group != nil && *ref.Group != gatewayv1.GroupName || ref.Kind != nil && *ref.Kind != kindGateway {
		return nil
	}
	name := types.NamespacedName{Namespace: r.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	return c.gateways[name]
}

// binding is a listener that takes a route, with the host names both agree on.
type binding struct {
	listener *listenerPlan
	hosts    []string
}

// bind finds the listeners a parent reference attaches a route to. The verdict is of the listener that came closest.
func (c *compiler) bind(g *gatewayPlan, ref gatewayv1.ParentReference, r *gatewayv1.HTTPRoute) ([]binding, verdict) {
	if v := g.notServed(); !v.ok() {
		return nil, verdict{string(gatewayv1.RouteReasonPending), fmt.Sprintf("Gateway %q is not served: see its status.", ref.Name)}
	}
	var named, allowed bool
	var bindings []binding
	for _, l := range g.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.spec.Name || ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		named = true
		if !l.serves() || !l.allowsNamespace(c.index, g.object.Namespace, r.Namespace) {
			continue
		}
		allowed = true
		if hosts := commonHosts(l.hostname, r.Spec.Hostnames); len(hosts) > 0 {
			bindings = append(bindings, binding{l, hosts})
		}
	}
	switch {
	case len(bindings) > 0:
		return bindings, verdict{}
	case allowed:
		return nil, verdict{
			string(gatewayv1.RouteReasonNoMatchingListenerHostname),
			fmt.Sprintf("No listener of Gateway %q has a host name in common with this route.", ref.Name),
		}
	case named:
		return nil, verdict{
			string(gatewayv1.RouteReasonNotAllowedByListeners),
			fmt.Sprintf("No listener of Gateway %q takes an HTTPRoute of namespace %q: see its listeners' allowedRoutes and conditions.", ref.Name, r.Namespace),
		}
	}
	return nil, verdict{
		string(gatewayv1.RouteReasonNoMatchingParent),
		fmt.Sprintf("Gateway %q has no listener with the name or port that this parent reference asks for.", ref.Name),
	}
}

// commonHosts is where a listener and a route meet: the more specific name of each pair that covers the other. "" is
// every name.
func commonHosts(listener string, hostnames []gatewayv1.Hostname) []string {
	if len(hostnames) == 0 {
		return []string{listener}
	}
	var hosts []string
	for _, h := range hostnames {
		host := strings.ToLower(string(h))
		switch {
		case covers(listener, host):
			hosts = append(hosts, host)
		case covers(host, listener):
			hosts = append(hosts, listener)
		}
	}
	return sortedUnique(hosts)
}

// covers says whether every name that b stands for is one of a's.
func covers(a, b string) bool {
	if a == "" || a == b {
		return true
	}
	return strings.HasPrefix(a, "*.") && strings.HasSuffix(b, a[1:])
}

func (c *compiler) route(object *gatewayv1.HTTPRoute) *routePlan {
	r := &routePlan{object: object}
	name := nameOf(object).String()
	if s := object.Spec.UseDefaultGateways; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		r.ignored = append(r.ignored, "spec.useDefaultGateways")
	}
	var messages []string
	for i := range object.Spec.Rules {
		spec := &object.Spec.Rules[i]
		field := fmt.Sprintf("rules[%d]", i)
		entries, bad := compileMatches(field, spec.Matches)
		if bad != "" {
			r.dropped = append(r.dropped, bad)
			continue
		}
		compiled, unresolved := c.rule(object.Namespace, name, field, spec)
		if compiled.fail != "" {
			r.failing = append(r.failing, compiled.fail)
		}
		for _, v := range unresolved {
			if r.unresolved.ok() {
				r.unresolved.reason = v.reason
			}
			messages = append(messages, v.message)
		}
		r.ignored = append(r.ignored, ignoredRuleFields(field, spec)...)
		for n, e := range entries {
			e.rule = compiled
			e.rank = rank{created: object.CreationTimestamp.Time, route: name, rule: i, match: n}
		}
		r.entries = append(r.entries, entries...)
	}
	r.unresolved.message = strings.Join(messages, "; ")
	return r
}

func ignoredRuleFields(field string, spec *gatewayv1.HTTPRouteRule) []string {
	var fields []string
	if spec.Retry != nil {
		fields = append(fields, field+".retry")
	}
	if spec.SessionPersistence != nil {
		fields = append(fields, field+".sessionPersistence")
	}
	return fields
}

// invalid says that no rule is served as written.
func (r *routePlan) invalid() bool {
	bad := len(r.dropped) + len(r.failing)
	return bad > 0 && bad == len(r.object.Spec.Rules)
}

func (r *routePlan) conditions(refused verdict) []metav1.Condition {
	bad := strings.Join(append(append([]string{}, r.dropped...), r.failing...), "; ")
	if refused.ok() && r.invalid() {
		refused = verdict{string(gatewayv1.RouteReasonUnsupportedValue), "No rule can be served: " + bad + "."}
	}
	well := verdict{string(gatewayv1.RouteReasonAccepted), "Requests are answered."}
	if len(r.ignored) > 0 {
		well.message += " Without effect, because not supported: " + strings.Join(r.ignored, ", ") + "."
	}
	conditions := []metav1.Condition{
		condition(string(gatewayv1.RouteConditionAccepted), r.object.Generation, refused, well),
		condition(string(gatewayv1.RouteConditionResolvedRefs), r.object.Generation, r.unresolved,
			verdict{string(gatewayv1.RouteReasonResolvedRefs), "All references are resolved."}),
	}
	if refused.ok() && bad != "" {
		conditions = append(conditions, metav1.Condition{
			Type: string(gatewayv1.RouteConditionPartiallyInvalid), Status: metav1.ConditionTrue,
			ObservedGeneration: r.object.Generation, Reason: string(gatewayv1.RouteReasonUnsupportedValue),
			Message: "Dropped Rule: " + bad + ".",
		})
	}
	return conditions
}
