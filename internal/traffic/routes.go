package traffic

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routePlan is what was decided about the rules of a route. Gateways that show backends different certificates see it
// differently; all others see the same.
type routePlan struct {
	age        age
	generation int64
	rules      int // how many the route has
	entries    []*entry
	stream     *streamRule // of a TLSRoute
	// faults are shared by all plans that have none: see flawless.
	*faults

	// services are those the route refers to; series and backends what it uses.
	services []types.NamespacedName
	series   []*series
	backends []*backendRef
}

// faults are what is wrong with few routes.
type faults struct {
	// dropped and failing are rules that are not served as written, each with the fields that are the reason. Requests
	// to a failing one are answered 500; a dropped one is as if it were not there.
	dropped, failing []string
	// ignored names fields without which the rules are served.
	ignored []string
	// unresolved is the reason of the first backend that cannot be used, and every message.
	unresolved verdict
}

// flawless is the faults of most routes. It does not change.
var flawless = &faults{}

// asksHeaders says that some match looks at header fields.
func (r *routePlan) asksHeaders() bool {
	return slices.ContainsFunc(r.entries, func(e *entry) bool { return len(e.headers) > 0 })
}

// routeState is what became of a route: which parents it has and where it is attached. It does not change.
type routeState struct {
	parents  []routeParentState
	bindings []binding
	policies []policyUse
	// crossed says that a listener refused it because of a route of another kind.
	crossed bool
}

// routeParentState is a parent of a route, and what the route is to it; refused is why it is not attached there.
type routeParentState struct {
	ref     gatewayv1.ParentReference
	gateway *gatewayPlan
	plan    *routePlan
	refused verdict
}

// statuses are this controller's entries of the route's status.parents.
func (r *routeState) statuses() []gatewayv1.RouteParentStatus {
	var parents []gatewayv1.RouteParentStatus
	for _, p := range r.parents {
		parents = append(parents, gatewayv1.RouteParentStatus{
			ParentRef: p.ref, ControllerName: ControllerName, Conditions: p.plan.conditions(p.refused),
		})
	}
	return parents
}

// refersTo says whether a rule names one of the Services.
func (r *routeState) refersTo(services map[types.NamespacedName]bool) bool {
	for i := range r.parents {
		for _, name := range r.parents[i].plan.services {
			if services[name] {
				return true
			}
		}
	}
	return false
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

// addRoute attaches a route to the listeners its parents name.
func (c *compiler) addRoute(object *routeObject) *routeState {
	s := &routeState{parents: make([]routeParentState, 0, len(object.common.ParentRefs))}
	for _, ref := range object.common.ParentRefs {
		p := c.parent(object, ref)
		if p == nil {
			continue
		}
		plan := c.planFor(s, object, p.gateway)
		s.policies = append(s.policies, c.policies.usedBy(object, p.gateway)...)
		bindings, refused := c.bind(p, ref, object, s)
		for _, b := range bindings {
			b.plan = plan
			c.attachTo(s, b, object.kind)
		}
		c.touched.gateways[p.gateway] = true
		s.parents = append(s.parents, routeParentState{ref: ref, gateway: p.gateway, plan: plan, refused: refused})
	}
	for _, use := range s.policies {
		c.touched.policies[use.policy] = true
	}
	ref := objectRef{object.kind, nameOf(object)}
	c.routes[ref], c.touched.routes[ref] = s, s
	return s
}

// planFor is what a route is to a Gateway: the same as to another one with the same client certificate.
func (c *compiler) planFor(s *routeState, object *routeObject, g *gatewayPlan) *routePlan {
	for i := range s.parents {
		if p := &s.parents[i]; p.gateway == g || p.gateway.client == g.client {
			return p.plan
		}
	}
	return c.route(object, g)
}

// attachTo notes that a listener takes the route. Where an earlier parent has a place already, that one's plan counts.
func (c *compiler) attachTo(s *routeState, b binding, kind string) {
	b.counted = !b.plan.invalid()
	b.listener.attach(kind, b)
	for at := range b.places {
		if s.has(at) {
			continue
		}
		change := c.touchPlace(at)
		change.added = append(change.added, b.plan)
	}
	s.bindings = append(s.bindings, b)
}

// has says whether the route is at a place.
func (r *routeState) has(at place) bool {
	return slices.ContainsFunc(r.bindings, func(b binding) bool {
		return slices.Contains(b.listener.tables, at.table) && slices.Contains(b.hosts, at.host)
	})
}

func (c *compiler) touchPlace(p place) *placeChange {
	change := c.touched.places[p]
	if change == nil {
		change = &placeChange{}
		c.touched.places[p] = change
	}
	return change
}

// removeRoute takes back what addRoute did. What only this route used is let go of when all is read, because another
// version of the route may use it.
func (c *compiler) removeRoute(ref objectRef, r *routeState) {
	delete(c.routes, ref)
	c.touched.routes[ref] = nil
	for i, p := range r.parents {
		if !slices.ContainsFunc(r.parents[:i], func(other routeParentState) bool { return other.plan == p.plan }) {
			c.touched.released = append(c.touched.released, p.plan)
		}
		c.touched.gateways[p.gateway] = true
	}
	for _, b := range r.bindings {
		b.listener.detach(ref.kind, b)
		for at := range b.places {
			change := c.touchPlace(at)
			change.removed = append(change.removed, b.plan)
		}
	}
	for _, use := range r.policies {
		use.policy.release(use.gateway)
		c.touched.policies[use.policy] = true
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
	plan     *routePlan
	counted  bool // among the listener's attached routes
}

// places yields the host names of each of the listener's tables.
func (b *binding) places(yield func(place) bool) {
	for _, table := range b.listener.tables {
		for _, host := range b.hosts {
			if !yield(place{table, host}) {
				return
			}
		}
	}
}

// bind finds the listeners a parent reference attaches a route to. The verdict is of the listener that came closest.
func (c *compiler) bind(p *routeParent, ref gatewayv1.ParentReference, r *routeObject, s *routeState) ([]binding, verdict) {
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
			crossed, s.crossed = host, true
			l.disputed = append(l.disputed, hosts...)
			continue
		}
		if len(hosts) > 0 {
			bindings = append(bindings, binding{listener: l, hosts: hosts})
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

// attach notes a route's host names.
func (l *listenerPlan) attach(kind string, b binding) {
	if b.counted {
		l.attached++
	}
	hosts := l.hosts[kind]
	if hosts == nil {
		hosts = map[string]int{}
		l.hosts[kind] = hosts
	}
	for _, h := range b.hosts {
		hosts[h]++
	}
}

// detach takes back attach.
func (l *listenerPlan) detach(kind string, b binding) {
	if b.counted {
		l.attached--
	}
	hosts := l.hosts[kind]
	for _, h := range b.hosts {
		if hosts[h]--; hosts[h] == 0 {
			delete(hosts, h)
		}
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
			if !meets(theirs, host) {
				continue
			}
			if host == "" {
				return "*"
			}
			return host
		}
	}
	return ""
}

// meets says whether a host name and one of those given have a name in common.
func meets(hosts map[string]int, host string) bool {
	if len(hosts) == 0 {
		return false
	}
	if host == "" || hosts[host] > 0 || hosts[""] > 0 {
		return true
	}
	for i := 1; i < len(host); i++ {
		if host[i] == '.' && hosts["*"+host[i:]] > 0 {
			return true
		}
	}
	if !strings.HasPrefix(host, "*.") {
		return false
	}
	for h := range hosts {
		if covers(host, h) {
			return true
		}
	}
	return false
}

// disputed says whether a route has a host name that some route was refused for, so that its coming or going may matter
// to that route.
func (r *routeState) disputed() bool {
	for _, b := range r.bindings {
		for _, d := range b.listener.disputed {
			for _, h := range b.hosts {
				if covers(d, h) || covers(h, d) {
					return true
				}
			}
		}
	}
	return r.crossed
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
	name := nameOf(object).String()
	r := &routePlan{
		age: age{object.CreationTimestamp.Time, name}, generation: object.Generation, rules: len(object.rules) + len(object.streams),
		faults: &faults{},
	}
	if s := object.common.UseDefaultGateways; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		r.ignored = append(r.ignored, "spec.useDefaultGateways")
	}
	b := &ruleBuilder{compiler: c, object: object, gateway: g, plan: r}
	if object.kind == kindTLSRoute {
		b.streamRules()
	}
	for i := range object.rules {
		b.httpRule(i, &object.rules[i])
	}
	r.trim()
	return r
}

// trim lets go of what the finished plan has no need of.
func (r *routePlan) trim() {
	r.entries, r.series, r.backends = slices.Clip(r.entries), slices.Clip(r.series), slices.Clip(r.backends)
	if f := r.faults; f.dropped == nil && f.failing == nil && f.ignored == nil && f.unresolved.ok() {
		r.faults = flawless
	}
}

// httpRule compiles a rule of a route and its matches.
func (b *ruleBuilder) httpRule(i int, spec *gatewayv1.HTTPRouteRule) {
	r := b.plan
	field := "rules[" + strconv.Itoa(i) + "]"
	entries, bad := compileMatches(field, spec.Matches)
	if bad != "" {
		r.dropped = append(r.dropped, bad)
		return
	}
	compiled := b.rule(field, spec)
	if compiled.fail != "" {
		r.failing = append(r.failing, compiled.fail)
	}
	r.ignored = append(r.ignored, ignoredRuleFields(field, spec)...)
	for n, e := range entries {
		e.rule = compiled
		e.rank = rank{age: &r.age, rule: int32(i), match: int32(n)}
	}
	r.entries = append(r.entries, entries...)
}

// streamRules compiles a TLSRoute, which has one rule.
func (b *ruleBuilder) streamRules() {
	r := b.plan
	spec := &gatewayv1.HTTPRouteRule{}
	if len(b.object.streams) > 0 {
		for _, ref := range b.object.streams[0].BackendRefs {
			spec.BackendRefs = append(spec.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: ref})
		}
	}
	r.stream = &streamRule{route: r.age.route, rule: b.rule("rules[0]", spec)}
	for i := 1; i < len(b.object.streams); i++ {
		r.dropped = append(r.dropped, fmt.Sprintf("rules[%d]: a TLSRoute has one rule", i))
	}
}

func (r *routePlan) unresolve(v verdict) {
	if r.unresolved.ok() {
		r.unresolved = v
	} else {
		r.unresolved.message += "; " + v.message
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
	return bad > 0 && bad == r.rules
}

func (r *routePlan) conditions(refused verdict) []metav1.Condition {
	bad := strings.Join(append(append([]string{}, r.dropped...), r.failing...), "; ")
	if refused.ok() && r.invalid() {
		refused = verdict{string(gatewayv1.RouteReasonUnsupportedValue), "No rule can be served: " + bad + "."}
	}
	well := verdict{string(gatewayv1.RouteReasonAccepted), "Requests are answered."}
	if !r.unresolved.ok() {
		well.message = "Some requests cannot be answered: " + r.unresolved.message
	}
	if len(r.ignored) > 0 {
		well.message += " Without effect, because not supported: " + strings.Join(r.ignored, ", ") + "."
	}
	conditions := []metav1.Condition{
		condition(string(gatewayv1.RouteConditionAccepted), r.generation, refused, well),
		condition(string(gatewayv1.RouteConditionResolvedRefs), r.generation, r.unresolved,
			verdict{string(gatewayv1.RouteReasonResolvedRefs), "All references are resolved."}),
	}
	if refused.ok() && bad != "" {
		conditions = append(conditions, metav1.Condition{
			Type: string(gatewayv1.RouteConditionPartiallyInvalid), Status: metav1.ConditionTrue,
			ObservedGeneration: r.generation, Reason: string(gatewayv1.RouteReasonUnsupportedValue),
			Message: "Dropped Rule: " + bad + ".",
		})
	}
	return conditions
}
