package traffic

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// frame has listeners that differ in all that matters to routes, a policy, and a grant.
const frame = base + `---
kind: Gateway
metadata: {name: hosts, namespace: infra}
spec:
  gatewayClassName: escale
  listeners:
  - {name: one, port: 81, protocol: HTTP, hostname: '*.test', allowedRoutes: {namespaces: {from: All}}}
  - {name: same, port: 82, protocol: HTTP}
---
kind: Gateway
metadata: {name: streams, namespace: infra}
spec:
  gatewayClassName: escale
  listeners:
  - {name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
---
kind: ListenerSet
metadata: {name: set, namespace: infra}
spec:
  parentRef: {name: edge}
  listeners:
  - {name: more, port: 83, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
---
kind: BackendTLSPolicy
metadata: {name: trust, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: safe}]
  validation: {hostname: safe.test, wellKnownCACertificates: System}
---
kind: ReferenceGrant
metadata: {name: let, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: '', kind: Service}]
`

// changer is a cluster whose routes and Services change at random.
type changer struct {
	*rand.Rand
	facts    Facts
	routes   map[objectRef]*routeObject
	services map[types.NamespacedName]*corev1.Service
	changes  Changes
}

func pick[T any](r *changer, from ...T) T { return from[r.IntN(len(from))] }

// change makes another version of an object, or removes it.
func (r *changer) change() {
	switch r.IntN(8) {
	case 0:
		r.changeService()
	case 1:
		r.changes.Namespaces = map[string]*corev1.Namespace{"shop": {ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}
	default:
		r.changeRoute()
	}
}

func (r *changer) changeService() {
	name := types.NamespacedName{Namespace: pick(r, "shop", "other"), Name: pick(r, "web", "safe", "late")}
	var s *corev1.Service
	if r.IntN(4) > 0 {
		s = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: pick(r, "http", "web"), Port: 80, AppProtocol: pick(r, nil, new("kubernetes.io/h2c"), new("nonsense"))}}},
		}
	}
	r.changes.Services[name] = s
	if s == nil {
		delete(r.services, name)
	} else {
		r.services[name] = s
	}
	for ref, o := range r.routes {
		r.changes.Routes[ref] = o // more than refer to it, which must not matter
	}
}

func (r *changer) changeRoute() {
	ref := objectRef{
		pick(r, kindHTTPRoute, kindHTTPRoute, kindHTTPRoute, kindGRPCRoute, kindTLSRoute),
		types.NamespacedName{Namespace: pick(r, "shop", "infra"), Name: pick(r, "a", "b", "c", "d", "e", "f")},
	}
	if r.IntN(4) == 0 {
		delete(r.routes, ref)
		r.changes.Routes[ref] = nil
		return
	}
	o := r.route(ref)
	r.routes[ref], r.changes.Routes[ref] = o, o
}

func (r *changer) route(ref objectRef) *routeObject {
	created := time.Unix(int64(r.IntN(20)), 0)
	if before := r.routes[ref]; before != nil {
		created = before.CreationTimestamp.Time
	}
	o := &routeObject{
		ObjectMeta: &metav1.ObjectMeta{
			Namespace: ref.name.Namespace, Name: ref.name.Name, Generation: r.Int64N(1000), CreationTimestamp: metav1.Time{Time: created},
		},
		kind: ref.kind, common: &gatewayv1.CommonRouteSpec{},
	}
	for range 1 + r.IntN(2) {
		o.common.ParentRefs = append(o.common.ParentRefs, r.parent())
	}
	for range r.IntN(3) {
		o.hostnames = append(o.hostnames, pick[gatewayv1.Hostname](r, "a.test", "b.test", "*.test", "x.y.test", "c.example"))
	}
	if ref.kind == kindTLSRoute {
		o.streams = []gatewayv1.TLSRouteRule{{BackendRefs: []gatewayv1.BackendRef{r.backend()}}}
		return o
	}
	for range 1 + r.IntN(4) {
		o.rules = append(o.rules, r.rule())
	}
	return o
}

func (r *changer) parent() gatewayv1.ParentReference {
	p := gatewayv1.ParentReference{Namespace: new(gatewayv1.Namespace("infra")), Name: pick[gatewayv1.ObjectName](r, "edge", "hosts", "streams", "none")}
	if r.IntN(6) == 0 {
		p.Kind, p.Name = new(gatewayv1.Kind(kindListenerSet)), "set"
	}
	return p
}

func (r *changer) backend() gatewayv1.BackendRef {
	b := gatewayv1.BackendRef{}
	b.Name, b.Port = pick[gatewayv1.ObjectName](r, "web", "safe", "late"), new(gatewayv1.PortNumber(80))
	if r.IntN(4) == 0 {
		b.Namespace = new(gatewayv1.Namespace("other"))
	}
	return b
}

func (r *changer) rule() gatewayv1.HTTPRouteRule {
	rule := gatewayv1.HTTPRouteRule{}
	for range r.IntN(4) {
		m := gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{
			Type:  new(pick(r, gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchRegularExpression, "Unknown")),
			Value: new(pick(r, "/", "/a", "/a/b", "/[ab]")),
		}}
		if r.IntN(3) == 0 {
			m.Headers = []gatewayv1.HTTPHeaderMatch{{Name: "x", Value: "1"}}
		}
		rule.Matches = append(rule.Matches, m)
	}
	for range r.IntN(3) {
		rule.BackendRefs = append(rule.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: r.backend()})
	}
	return rule
}

// whole is what Compile makes of the facts there are now.
func (r *changer) whole() *Compiled {
	f := r.facts
	f.Services = nil
	for _, s := range r.services {
		f.Services = append(f.Services, *s)
	}
	routes := slices.Collect(maps.Values(r.routes))
	sortRoutes(routes)
	return compileRoutes(f, routes, nil)
}

// byHost is all that an index holds.
func byHost[T any](h *hostIndex[T]) map[string]T {
	all := map[string]T{}
	for prefix, m := range map[string]nameMap[T]{"": h.exact, "*": h.suffix} {
		if m.parts == nil {
			continue
		}
		for _, part := range m.parts {
			for name, v := range part {
				all[prefix+name] = v
			}
		}
	}
	if h.any != nil {
		all[""] = *h.any
	}
	return all
}

// asText is JSON, in order of names.
func asText[T any](t testing.TB, m map[types.NamespacedName]T) string {
	named := map[string]T{}
	for name, v := range m {
		named[name.String()] = v
	}
	b, err := json.Marshal(named)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dump writes down all that a compilation decided.
func dump(t testing.TB, c *Compiled, statuses *pending) []string {
	var lines []string
	for key, s := range c.Table.sockets {
		for host, l := range byHost(&s.listeners) {
			for name, p := range byHost(l.routes()) {
				at := fmt.Sprintf("%v %q %q", key, host, name)
				if p.stream != nil {
					lines = append(lines, fmt.Sprintf("%s: stream %s", at, ruleText(p.stream.rule)))
				}
				for i, e := range p.entries {
					lines = append(lines, fmt.Sprintf("%s %d: %d %q %v %v %s", at, i, e.kind, e.path, e.headers, e.rank.age, ruleText(e.rule)))
				}
				if (p.maps != nil) != (len(p.entries) >= manyEntries) {
					lines = append(lines, "maps")
				}
			}
		}
	}
	for _, s := range c.Table.series.list() {
		lines = append(lines, fmt.Sprintf("series %v used %d", s.key, s.uses))
	}
	for _, b := range c.Table.backends.list() {
		lines = append(lines, fmt.Sprintf("backend %v used %d, secure %v", b.key, b.uses, b.upstream != nil))
	}
	statuses.read(func(s *Statuses) {
		for ref, r := range s.Routes {
			lines = append(lines, fmt.Sprintf("status of %v: %s", ref, asText(t, map[types.NamespacedName][]gatewayv1.RouteParentStatus{{}: r.statuses()})))
		}
		lines = append(lines, "gateways "+asText(t, s.Gateways), "sets "+asText(t, s.ListenerSets), "policies "+asText(t, s.Policies))
	})
	slices.Sort(lines)
	return lines
}

func ruleText(r *rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %v", r.route, r.fail, r.series.key)
	for _, t := range r.targets {
		fmt.Fprintf(&b, " %d %q %v", t.weight, t.fail, t.series.key)
		if t.backend != nil {
			fmt.Fprintf(&b, " %v", t.backend.key)
		}
	}
	return b.String()
}

// Whatever changes in whatever order, the result is the one that compiling everything has.
func TestChangesGiveWhatCompilingEverythingGives(t *testing.T) {
	applied := 0
	for seed := range uint64(20) {
		r := &changer{
			Rand: rand.New(rand.NewPCG(seed, 1)), facts: facts(t, frame),
			routes: map[objectRef]*routeObject{}, services: map[types.NamespacedName]*corev1.Service{},
		}
		r.facts.Gateways[0].Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: new(gatewayv1.NamespacesFromAll)}}
		r.facts.Network = NetworkFacts{Everywhere: true}
		statuses := newPending()
		c := r.whole()
		statuses.publish(c.Statuses)
		for step := range 40 {
			r.changes = Changes{Routes: map[objectRef]*routeObject{}, Services: map[types.NamespacedName]*corev1.Service{}}
			for range 1 + r.IntN(3) {
				r.change()
			}
			want := r.whole()
			if c.apply(r.changes) {
				applied++
				c.Table.commitHosts()
			} else {
				c = r.whole()
			}
			statuses.publish(c.Statuses)
			all := newPending()
			all.publish(want.Statuses)
			if diff := cmp.Diff(dump(t, want, all), dump(t, c, statuses)); diff != "" {
				t.Fatalf("seed %d, step %d (-compiled, +changed):\n%s", seed, step, diff)
			}
		}
	}
	if applied < 300 {
		t.Errorf("only %d changes were applied by themselves", applied)
	}
}
