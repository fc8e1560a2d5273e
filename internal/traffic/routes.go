package traffic

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routePlan is a route and what was decided about its rules. Gateways that show backends different certificates see it
// differently; all others see the same.
type routePlan struct {
	object  *routeObject
	entries []*entry
	stream  *streamRule // of a TLSRoute
	// dropped and failing are rules that are not served as written, each with the fields that are the reason. Requests
	// to a failing one are answered 500; a dropped one is as if it were not there.
	dropped, failing []string
	// ignored names fields without which the rules are served.
	ignored []string
	// unresolved is the reason of the first backend that cannot be used, and every message.
	unresolved verdict
}

// routeParent is what a route attaches to: a Gateway's own listeners, or those of a ListenerSet.
type routeParent struct {
	gateway   *gatewayPlan
	listeners []*listenerPlan
	kind      string
}

// place is a host name of a listener.
type place struct {
	table *listenerTable
	host  string
}

// addRoute attaches a route to the listeners its parents name, and returns the status of each parent of ours.
func (c *compiler) addRoute(object *routeObject) []gatewayv1.RouteParentStatus {
	var parents []gatewayv1.RouteParentStatus
	plans := map[*clientCertificate]*routePlan{}
	attached := map[place]bool{}
	for _, ref := range object.common.ParentRefs {
		p := c.parent(object, ref)
		if p == nil {
			continue
		}
		r := plans[p.gateway.client]
		if r == nil {
			r = c.route(object, p.gateway)
			plans[p.gateway.client] = r
		}
		c.policies.usedBy(object, p.gateway)
		bindings, refused := c.bind(p, ref, object)
		for _, b := range bindings {
			c.attachTo(r, b, attached)
		}
		parents = append(parents, gatewayv1.RouteParentStatus{
			ParentRef: ref, ControllerName: ControllerName, Conditions: r.conditions(refused),
		})
	}
	return parents
}

func (c *compiler) attachTo(r *routePlan, b binding, attached map[place]bool) {
	if !r.invalid() {
		b.listener.attached++
	}
	b.listener.hosts[r.object.kind] = append(b.listener.hosts[r.object.kind], b.hosts...)
	for _, table := range b.listener.tables {
		for _, host := range b.hosts {
			p := place{table, host}
			if attached[p] {
				continue
			}
			attached[p] = true
			if r.stream != nil {
				table.streams.get(host, func() *streamRule { return r.stream }) // the oldest route has precedence
				continue
			}
			c.attach(table, host, r.entries)
		}
	}
}

// parent is what a reference names, if that is ours, or nil.
func (c *compiler) parent(r *routeObject, ref gatewayv1.ParentReference) *routeParent {
	if ref.Group != nil && *ref.Group != gatewayv1.GroupName {
		return nil
	}
	name := types.NamespacedName{Namespace: r.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	switch kind := deref(ref.Kind, kindGateway); kind {
	case kindGateway:
		if g := c.gateways[name]; g != nil {
			return &routeParent{gateway: g, listeners: g.listeners, kind: kindGateway}
		}
	case kindListenerSet:
		if s := c.sets[name]; s != nil {
			p := &routeParent{gateway: s.gateway, kind: kindListenerSet}
			if s.refused.ok() {
				p.listeners = s.listeners
			}
			return p
		}
	}
	return nil
}

// binding is a listener that takes a route, with the host names both agree on.
type binding struct {
	listener *listenerPlan
	hosts    []string
}

// bind finds the listeners a parent reference attaches a route to. The verdict is of the listener that came closest.
func (c *compiler) bind(p *routeParent, ref gatewayv1.ParentReference, r *routeObject) ([]binding, verdict) {
	if v := p.gateway.notServed(); !v.ok() {
		return nil, verdict{string(gatewayv1.RouteReasonPending), fmt.Sprintf("Gateway %q is not served: see its status.", nameOf(p.gateway.object))}
	}
	var named, allowed bool
	var crossed string
	var bindings []binding
	for _, l := range p.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.spec.Name || ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		named = true
		if !l.refused.ok() || !l.takes(r.kind) || !l.allowsNamespace(c.index, r.Namespace) {
			continue
		}
		allowed = true
		hosts := commonHosts(l.hostname, r.hostnames)
		if host := l.crossed(r.kind, hosts); host != "" {
			crossed = host
			continue
		}
		if len(hosts) > 0 {
			bindings = append(bindings, binding{l, hosts})
		}
	}
	if len(bindings) > 0 {
		return bindings, verdict{}
	}
	return nil, refusal(p.kind, ref, r, named, allowed, crossed)
}

// refusal is why a route is attached to no listener.
func refusal(kind string, ref gatewayv1.ParentReference, r *routeObject, named, allowed bool, crossed string) verdict {
	switch {
	case crossed != "":
		return verdict{
			string(gatewayv1.RouteReasonNotAllowedByListeners),
			fmt.Sprintf("An older route of another kind has host name %q of %s %q: HTTPRoutes and GRPCRoutes need host names of their own.", crossed, kind, ref.Name),
		}
	case allowed:
		return verdict{
			string(gatewayv1.RouteReasonNoMatchingListenerHostname),
			fmt.Sprintf("No listener of %s %q has a host name in common with this route.", kind, ref.Name),
		}
	case named:
		return verdict{
			string(gatewayv1.RouteReasonNotAllowedByListeners),
			fmt.Sprintf("No listener of %s %q takes a %s of namespace %q: see its listeners' allowedRoutes and conditions.", kind, ref.Name, r.kind, r.Namespace),
		}
	}
	return verdict{
		string(gatewayv1.RouteReasonNoMatchingParent),
		fmt.Sprintf("%s %q has no listener with the name or port that this parent reference asks for.", kind, ref.Name),
	}
}

// crossed is the first of the host names that a route of another kind has on this listener. The API wants HTTPRoutes and
// GRPCRoutes apart: see GRPCRouteSpec.hostnames.
func (l *listenerPlan) crossed(kind string, hosts []string) string {
	for other, theirs := range l.hosts {
		if other == kind {
			continue
		}
		for _, host := range hosts {
			if slices.ContainsFunc(theirs, func(h string) bool { return covers(h, host) || covers(host, h) }) {
				if host == "" {
					return "*"
				}
				return host
			}
		}
	}
	return ""
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

// route compiles the rules of a route as a Gateway sees them.
func (c *compiler) route(object *routeObject, g *gatewayPlan) *routePlan {
	r := &routePlan{object: object}
	if s := object.common.UseDefaultGateways; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		r.ignored = append(r.ignored, "spec.useDefaultGateways")
	}
	if object.kind == kindTLSRoute {
		c.streamRules(r, g)
		return r
	}
	name := nameOf(object).String()
	for i := range object.rules {
		spec := &object.rules[i]
		field := fmt.Sprintf("rules[%d]", i)
		entries, bad := compileMatches(field, spec.Matches)
		if bad != "" {
			r.dropped = append(r.dropped, bad)
			continue
		}
		b := &ruleBuilder{compiler: c, object: object, gateway: g, route: name}
		compiled := b.rule(field, spec)
		if compiled.fail != "" {
			r.failing = append(r.failing, compiled.fail)
		}
		r.unresolve(b.unresolved)
		r.ignored = append(r.ignored, ignoredRuleFields(field, spec)...)
		for n, e := range entries {
			e.rule = compiled
			e.rank = rank{created: object.CreationTimestamp.Time, route: name, rule: i, match: n}
		}
		r.entries = append(r.entries, entries...)
	}
	return r
}

// streamRules compiles a TLSRoute, which has one rule.
func (c *compiler) streamRules(r *routePlan, g *gatewayPlan) {
	name := nameOf(r.object).String()
	b := &ruleBuilder{compiler: c, object: r.object, gateway: g, route: name}
	spec := &gatewayv1.HTTPRouteRule{}
	if len(r.object.streams) > 0 {
		for _, ref := range r.object.streams[0].BackendRefs {
			spec.BackendRefs = append(spec.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: ref})
		}
	}
	r.stream = &streamRule{route: name, rule: b.rule("rules[0]", spec)}
	r.unresolve(b.unresolved)
	for i := 1; i < len(r.object.streams); i++ {
		r.dropped = append(r.dropped, fmt.Sprintf("rules[%d]: a TLSRoute has one rule", i))
	}
}

func (r *routePlan) unresolve(list []verdict) {
	for _, v := range list {
		if r.unresolved.ok() {
			r.unresolved = v
		} else {
			r.unresolved.message += "; " + v.message
		}
	}
}

func ignoredRuleFields(field string, spec *gatewayv1.HTTPRouteRule) []string {
	if spec.SessionPersistence != nil {
		return []string{field + ".sessionPersistence"}
	}
	return nil
}

// invalid says that no rule is served as written.
func (r *routePlan) invalid() bool {
	bad := len(r.dropped) + len(r.failing)
	return bad > 0 && bad == len(r.object.rules)+len(r.object.streams)
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
