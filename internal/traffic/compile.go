package traffic

import (
	"crypto/tls"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	kindGateway     = "Gateway"
	kindListenerSet = "ListenerSet"
	kindHTTPRoute   = "HTTPRoute"
	kindGRPCRoute   = "GRPCRoute"
	kindTLSRoute    = "TLSRoute"
	kindPolicy      = "BackendTLSPolicy"
	kindService     = "Service"
)

// Compiled is what was made of facts: what the data plane serves, and what each object's status says about it. It
// remembers what its routes were compiled to, so that a change costs what it touches: see apply.
type Compiled struct {
	Table *Table
	// Statuses are those that the last Compile or apply decided.
	Statuses Statuses

	*compiler
}

// Compile decides what the data plane serves and what each object's status says about it. It is pure: equal facts give
// equal results, in whatever order they are listed. Counters and connections of the Compiled before, which may be nil,
// are used on; it is not to be used any more.
func Compile(f Facts, before *Compiled) *Compiled {
	return compileRoutes(f, f.routeObjects(), before)
}

// compileRoutes compiles these routes, which are in order of precedence, with all else of the facts.
func compileRoutes(f Facts, routes []*routeObject, before *Compiled) *Compiled {
	c := &compiler{
		index:       newIndex(f),
		table:       &Table{sockets: map[SocketKey]*socketTable{}},
		terminators: map[string]int{},
		gateways:    map[types.NamespacedName]*gatewayPlan{},
		sets:        map[types.NamespacedName]*listenerSetPlan{},
		routes:      make(map[objectRef]*routeState, len(routes)),
	}
	if before != nil {
		c.earlier = before.table
	}
	c.policies = newPolicies(c.index)
	c.addGateways()
	c.begin()
	for _, r := range routes {
		c.addRoute(r)
	}
	s := c.finish()
	s.Whole, s.Classes, s.Given = true, c.classStatuses(), c.given
	for _, g := range c.gateways {
		c.touched.gateways[g] = true
	}
	for _, p := range c.policies.all {
		c.touched.policies[p] = true
	}
	c.addStatuses(&s)
	// Nobody reads the table yet.
	c.table.commitHosts()
	c.earlier = nil
	c.index.forget()
	return &Compiled{Table: c.table, Statuses: s, compiler: c}
}

// compiler collects the table while it goes through the objects.
type compiler struct {
	*index
	table       *Table
	earlier     *Table // has the counters and backends to use on; nil for none
	terminators map[string]int
	gateways    map[types.NamespacedName]*gatewayPlan
	sets        map[types.NamespacedName]*listenerSetPlan
	given       map[types.NamespacedName]netip.Addr
	policies    *policies
	routes      map[objectRef]*routeState
	touched     touched
}

// touched is what a compilation has to look at once all its routes are read.
type touched struct {
	routes   map[objectRef]*routeState // nil for one that is gone
	places   map[place]*placeChange
	gateways map[*gatewayPlan]bool
	policies map[*policyPlan]bool
	released []*routePlan
}

// placeChange is how the routes of a host name of a listener change.
type placeChange struct{ removed, added []*routePlan }

func (c *compiler) begin() {
	c.touched = touched{
		routes: map[objectRef]*routeState{}, places: map[place]*placeChange{},
		gateways: map[*gatewayPlan]bool{}, policies: map[*policyPlan]bool{},
	}
}

// finish makes the indexes of the places that changed, and the statuses of the routes.
func (c *compiler) finish() Statuses {
	for p, change := range c.touched.places {
		c.reindex(p, change)
	}
	for _, p := range c.touched.released {
		c.release(p)
	}
	return Statuses{
		Gateways:     map[types.NamespacedName]gatewayv1.GatewayStatus{},
		ListenerSets: map[types.NamespacedName]gatewayv1.ListenerSetStatus{},
		Policies:     map[types.NamespacedName][]gatewayv1.PolicyAncestorStatus{},
		Routes:       c.touched.routes,
	}
}

// addStatuses adds those of what the routes touched.
func (c *compiler) addStatuses(s *Statuses) {
	for g := range c.touched.gateways {
		s.Gateways[nameOf(g.object)] = g.status(&c.Facts)
	}
	for name, set := range c.sets {
		if c.touched.gateways[set.gateway] {
			s.ListenerSets[name] = set.status()
		}
	}
	for p := range c.touched.policies {
		s.Policies[nameOf(p.object)] = p.ancestors()
	}
	c.touched = touched{}
}

// reindex replaces the index of a place by one of the routes that are there now.
func (c *compiler) reindex(p place, change *placeChange) {
	hosts := c.table.editHosts(p.table)
	var routes []*routePlan
	if before, ok := hosts.at(p.host); ok {
		for _, r := range before.routes {
			if !slices.Contains(change.removed, r) {
				routes = append(routes, r)
			}
		}
	}
	routes = append(routes, change.added...)
	if len(routes) == 0 {
		hosts.remove(p.host)
		return
	}
	slices.SortFunc(routes, func(a, b *routePlan) int { return a.age.compare(&b.age) })
	hosts.set(p.host, newPathIndex(routes))
	for _, r := range change.added {
		if r.asksHeaders() {
			c.table.asksHeaders.Store(true)
		}
	}
}

// editHosts is the version of a listener's routes that waits to be installed.
func (t *Table) editHosts(l *listenerTable) *hostIndex[*pathIndex] {
	h := t.changes.hosts[l]
	if h == nil {
		h = l.routes().edit()
		if t.changes.hosts == nil {
			t.changes.hosts = map[*listenerTable]*hostIndex[*pathIndex]{}
		}
		t.changes.hosts[l] = h
	}
	return h
}

// commitHosts puts the routes of listeners in place.
func (t *Table) commitHosts() {
	for l, h := range t.changes.hosts {
		l.hosts.Store(h)
	}
	t.changes.hosts = nil
}

// backend is what stands for a backend, used once more.
func (c *compiler) backend(k BackendKey, name string, upstream *tls.Config) *backendRef {
	b, _ := c.table.backends.take(k, func() *backendRef {
		b := &backendRef{key: k, name: name, upstream: upstream}
		if c.earlier != nil {
			if old := c.earlier.backends.get(k); old != nil {
				b = old
				b.uses = 0
			}
		}
		if b.live == nil {
			c.table.changes.added = append(c.table.changes.added, b)
		}
		return b
	})
	b.uses++
	return b
}

// release lets go of what a plan used.
func (c *compiler) release(p *routePlan) {
	for _, b := range p.backends {
		if b.uses--; b.uses == 0 {
			c.table.backends.remove(b.key)
			c.table.changes.dropped = append(c.table.changes.dropped, b)
		}
	}
	for _, s := range p.series {
		if s.uses--; s.uses == 0 {
			c.table.series.remove(s.key)
		}
	}
}

// seriesOf is the counters of a name, used once more.
func (c *compiler) seriesOf(route, backend string) *series {
	k := SeriesKey{Route: route, Backend: backend}
	s, _ := c.table.series.take(k, func() *series {
		if c.earlier != nil {
			if old := c.earlier.series.get(k); old != nil {
				old.uses = 0
				return old
			}
		}
		return &series{key: k}
	})
	s.uses++
	return s
}

// terminator is the number, from 1, by which listeners refer to it.
func (c *compiler) terminator(t *terminator) int {
	n := c.terminators[t.digest]
	if n == 0 {
		c.table.terminators = append(c.table.terminators, t)
		n = len(c.table.terminators)
		c.terminators[t.digest] = n
	}
	return n
}

func nameOf(o interface {
	GetNamespace() string
	GetName() string
}) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// sortedUnique returns the distinct strings in order, so that a message is the same on every run.
func sortedUnique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
