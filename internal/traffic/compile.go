package traffic

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	kindGateway   = "Gateway"
	kindHTTPRoute = "HTTPRoute"
	kindService   = "Service"
)

// Compile decides what the data plane serves and what each object's status says about it. It is pure: equal facts give
// equal results, in whatever order they are listed.
func Compile(f Facts) (*Table, Statuses) {
	c := &compiler{
		index:    newIndex(f),
		table:    &Table{},
		backends: map[BackendKey]int{},
		series:   map[SeriesKey]int{},
		gateways: map[types.NamespacedName]*gatewayPlan{},
		paths:    map[*pathIndex]bool{},
	}
	statuses := Statuses{
		Classes:  c.classStatuses(),
		Gateways: map[types.NamespacedName]gatewayv1.GatewayStatus{},
		Routes:   make(map[types.NamespacedName][]gatewayv1.RouteParentStatus, len(f.Routes)),
	}
	c.addGateways()
	for i := range f.Routes {
		r := &f.Routes[i]
		statuses.Routes[nameOf(r)] = c.addRoute(r)
	}
	for p := range c.paths {
		p.sort()
	}
	for name, g := range c.gateways {
		statuses.Gateways[name] = g.status(f.Address)
	}
	return c.table, statuses
}

// compiler collects the table while it goes through the objects.
type compiler struct {
	*index
	table    *Table
	backends map[BackendKey]int
	series   map[SeriesKey]int
	gateways map[types.NamespacedName]*gatewayPlan
	paths    map[*pathIndex]bool
}

func (c *compiler) addGateways() {
	for i := range c.Gateways {
		g := &c.Gateways[i]
		if !c.classes[string(g.Spec.GatewayClassName)] {
			continue
		}
		decided := decideGateway(g, c.Address)
		c.gateways[nameOf(g)] = decided
		for _, l := range decided.listeners {
			if l.serves() {
				c.listenerTable(l.hostname)
			}
		}
	}
}

func (c *compiler) listenerTable(hostname string) *listenerTable {
	return c.table.listeners.get(hostname, func() *listenerTable { return &listenerTable{} })
}

// attach adds the entries of a route to the listener and host name they answer at.
func (c *compiler) attach(listener, host string, entries []*entry) {
	p := c.listenerTable(listener).hosts.get(host, func() *pathIndex { return &pathIndex{} })
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
