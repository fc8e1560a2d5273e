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

// Compile decides what the data plane serves and what each object's status says about it. It is pure: equal facts give
// equal results, in whatever order they are listed.
func Compile(f Facts) (*Table, Statuses) {
	c := &compiler{
		index:       newIndex(f),
		table:       &Table{sockets: map[SocketKey]*socketTable{}, upstream: map[string]*tls.Config{}},
		backends:    map[BackendKey]int{},
		series:      map[SeriesKey]int{},
		terminators: map[string]int{},
		gateways:    map[types.NamespacedName]*gatewayPlan{},
		sets:        map[types.NamespacedName]*listenerSetPlan{},
		paths:       map[*pathIndex]bool{},
	}
	c.policies = newPolicies(c.index)
	c.addGateways()
	s := Statuses{
		Classes:      c.classStatuses(),
		Gateways:     map[types.NamespacedName]gatewayv1.GatewayStatus{},
		ListenerSets: map[types.NamespacedName]gatewayv1.ListenerSetStatus{},
		Routes:       make(map[types.NamespacedName][]gatewayv1.RouteParentStatus, len(f.Routes)),
		GRPCRoutes:   map[types.NamespacedName][]gatewayv1.RouteParentStatus{},
		TLSRoutes:    map[types.NamespacedName][]gatewayv1.RouteParentStatus{},
		Given:        c.given,
	}
	kinds := map[string]map[types.NamespacedName][]gatewayv1.RouteParentStatus{
		kindHTTPRoute: s.Routes, kindGRPCRoute: s.GRPCRoutes, kindTLSRoute: s.TLSRoutes,
	}
	for _, r := range f.routeObjects() {
		kinds[r.kind][nameOf(r)] = c.addRoute(r)
	}
	for p := range c.paths {
		p.sort()
	}
	for name, g := range c.gateways {
		s.Gateways[name] = g.status(&f)
	}
	for name, set := range c.sets {
		s.ListenerSets[name] = set.status()
	}
	s.Policies = c.policies.statuses()
	return c.table, s
}

// compiler collects the table while it goes through the objects.
type compiler struct {
	*index
	table       *Table
	backends    map[BackendKey]int
	series      map[SeriesKey]int
	terminators map[string]int
	gateways    map[types.NamespacedName]*gatewayPlan
	sets        map[types.NamespacedName]*listenerSetPlan
	given       map[types.NamespacedName]netip.Addr
	policies    *policies
	paths       map[*pathIndex]bool
}

// attach adds the entries of a route to the listener and host name they answer at.
func (c *compiler) attach(l *listenerTable, host string, entries []*entry) {
	p := l.hosts.get(host, func() *pathIndex { return &pathIndex{} })
	c.paths[p] = true
	for _, e := range entries {
		p.add(e)
		c.table.asksHeaders = c.table.asksHeaders || len(e.headers) > 0
	}
}

func (c *compiler) backend(k BackendKey) int {
	return number(c.backends, &c.table.Backends, k)
}

func (c *compiler) seriesOf(route, backend string) int {
	return number(c.series, &c.table.Series, SeriesKey{Route: route, Backend: backend})
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

// number is the position of k in list, which it is appended to if it is new.
func number[K comparable](known map[K]int, list *[]K, k K) int {
	n, ok := known[k]
	if !ok {
		n = len(*list)
		known[k] = n
		*list = append(*list, k)
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
