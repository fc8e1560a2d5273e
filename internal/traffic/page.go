package traffic

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/traffic/view"
	portal "github.com/escale-dev/escale/internal/web"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// addPages adds the Traffic pages. They are made anew each second while somebody looks.
func (s *shell) addPages(server *portal.Server, signals *signal.Store) {
	server.Section("Traffic", "/traffic")
	changes := func(ctx context.Context) <-chan struct{} { return s.gateway.seconds(ctx, signals) }
	server.Page("/traffic", portal.Page{Section: "/traffic", Template: view.Overall, Changes: changes,
		View: func(r *http.Request) (portal.View, error) {
			f, err := s.pageFacts(r.Context())
			if err != nil {
				return nil, err
			}
			return view.Of(f, r.FormValue("q")), nil
		}})
	server.Page("/traffic/{namespace}/{name}", portal.Page{Section: "/traffic", Template: view.One, Changes: changes,
		View: func(r *http.Request) (portal.View, error) {
			f, err := s.pageFacts(r.Context())
			if err != nil {
				return nil, err
			}
			namespace, name := r.PathValue("namespace"), r.PathValue("name")
			page, ok := view.RouteOf(f, namespace, name)
			if !ok {
				return nil, portal.NotFound(fmt.Sprintf("There is no route %q in namespace %q.", name, namespace), "The Traffic page lists those there are.")
			}
			return page, nil
		}})
}

// seconds receives after each second's facts are in place, until ctx ends. Without signals it counts by itself.
func (g *Gateway) seconds(ctx context.Context, signals *signal.Store) <-chan struct{} {
	out := make(chan struct{}, 1)
	ticks := signals.Subscribe(ctx)
	go func() {
		defer close(out)
		own := time.NewTicker(time.Second)
		defer own.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-own.C:
				g.remember(time.Now())
			case e, ok := <-ticks:
				if !ok {
					ticks = nil
					continue
				}
				if e.Held.Name != "" {
					continue
				}
				own.Reset(2 * time.Second)
			}
			select {
			case out <- struct{}{}:
			default: // it has one waiting
			}
		}
	}()
	return out
}

// remember adds what was counted until now to the history. It costs as much as there are routes with requests.
func (g *Gateway) remember(now time.Time) {
	counts := []view.Counts{}
	all := []*series{&g.unrouted}
	if live := g.live.Load(); live != nil {
		all = append(all, live.table.series.list()...)
	}
	for _, s := range all {
		if c := s.counts.Load(); c != nil {
			counts = append(counts, c.reading(s.key.Route))
		}
	}
	g.history.Observe(now, counts)
}

func (c *seriesCounts) reading(route string) view.Counts {
	out := view.Counts{Route: route, InFlight: c.inFlight.Load(), Retries: c.retries.Load(), Failures: make([]uint64, failures)}
	for i := range out.Classes {
		out.Classes[i] = c.classes[i].Load()
	}
	for i := range out.Failures {
		out.Failures[i] = c.failures[i].Load()
	}
	c.latency.addTo(&out.Latency)
	return out
}

// pageFacts gathers what the pages show.
func (s *shell) pageFacts(ctx context.Context) (view.Facts, error) {
	var (
		gateways gatewayv1.GatewayList
		routes   gatewayv1.HTTPRouteList
		grpc     gatewayv1.GRPCRouteList
		tls      gatewayv1.TLSRouteList
		sets     gatewayv1.ListenerSetList
		policies gatewayv1.BackendTLSPolicyList
	)
	for _, list := range []client.ObjectList{&gateways, &routes, &grpc, &tls, &sets, &policies} {
		if err := s.client.List(ctx, list, shared); err != nil {
			return view.Facts{}, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	now := time.Now()
	f := view.Facts{Now: now, History: &s.gateway.history, Backends: s.gateway.backendViews()}
	objects := Facts{Routes: routes.Items, GRPCRoutes: grpc.Items, TLSRoutes: tls.Items}
	for _, o := range objects.routeObjects() {
		f.Routes = append(f.Routes, o.view(s.parents(o)))
	}
	for i := range gateways.Items {
		if g := &gateways.Items[i]; s.serves(g) {
			f.Gateways = append(f.Gateways, gatewayView(g))
			f.Gateways = append(f.Gateways, setViews(sets.Items, g)...)
		}
	}
	for i := range policies.Items {
		f.Policies = append(f.Policies, policyView(&policies.Items[i]))
	}
	return f, nil
}

// serves says whether the Gateway is of a class of this controller.
func (s *shell) serves(g *gatewayv1.Gateway) bool {
	ok := false
	s.statuses.read(func(all *Statuses) { _, ok = all.Classes[string(g.Spec.GatewayClassName)] })
	return ok
}

// parents are what a route is attached to, and what came of it.
func (s *shell) parents(o *routeObject) []gatewayv1.RouteParentStatus {
	r := s.statuses.route(objectRef{o.kind, nameOf(o)})
	if r == nil {
		return nil
	}
	return r.statuses()
}

// backendViews is every backend as it is now. Those of one Service and port are one.
func (g *Gateway) backendViews() []view.Backend {
	var out []view.Backend
	at := map[string]int{}
	for _, b := range g.backendList() {
		name := b.name
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, view.Backend{Name: name, Failures: make([]uint64, failures)})
		}
		b.addView(&out[i])
	}
	slices.SortFunc(out, func(a, b view.Backend) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (b *backend) addView(v *view.Backend) {
	set := b.set.Load()
	v.InFlight += b.counts.inFlight.Load()
	v.Held += b.held.Load()
	v.Most += maxInFlight(len(set.ready))
	v.Holds += b.counts.holds.Load()
	v.Ejections += b.counts.ejections.Load()
	v.Denied += b.counts.retriesDenied.Load()
	v.Full = v.Full || b.atPods() >= maxInFlight(len(set.ready))
	v.HoldFull = v.HoldFull || b.held.Load() >= maxHeld
	for i := range v.Failures {
		v.Failures[i] += b.counts.failures[i].Load()
	}
	if at := b.counts.lastSuccess.Load(); at > 0 && time.Unix(0, at).After(v.LastSuccess) {
		v.LastSuccess = time.Unix(0, at)
	}
	for _, e := range set.ready {
		end := view.Endpoint{Address: e.address, InFlight: e.inFlight.Load(), Failed: int(e.health.serverErrors.Load())}
		if until := e.health.until.Load(); until > 0 {
			end.Ejected = time.Unix(0, until)
		}
		v.Endpoints = append(v.Endpoints, end)
	}
	for _, e := range set.draining {
		v.Endpoints = append(v.Endpoints, view.Endpoint{Address: e.address, InFlight: e.inFlight.Load(), Draining: true})
	}
}

func gatewayView(g *gatewayv1.Gateway) view.Gateway {
	out := view.Gateway{Namespace: g.Namespace, Name: g.Name, Class: string(g.Spec.GatewayClassName), Conditions: g.Status.Conditions}
	for _, a := range g.Status.Addresses {
		out.Addresses = append(out.Addresses, a.Value)
	}
	for _, l := range g.Spec.Listeners {
		line := view.Listener{Name: string(l.Name), Protocol: string(l.Protocol), Port: l.Port, Host: string(deref(l.Hostname, ""))}
		for _, status := range g.Status.Listeners {
			if status.Name == l.Name {
				line.Routes, line.Conditions = status.AttachedRoutes, status.Conditions
			}
		}
		out.Listeners = append(out.Listeners, line)
	}
	return out
}

// setViews are the ListenerSets that want to add to a Gateway.
func setViews(sets []gatewayv1.ListenerSet, g *gatewayv1.Gateway) []view.Gateway {
	var out []view.Gateway
	for i := range sets {
		s := &sets[i]
		ref := s.Spec.ParentRef
		if string(ref.Name) != g.Name || string(deref(ref.Namespace, gatewayv1.Namespace(s.Namespace))) != g.Namespace {
			continue
		}
		v := view.Gateway{Namespace: s.Namespace, Name: s.Name, AddsTo: nameOf(g).String(), Conditions: s.Status.Conditions}
		for _, l := range s.Spec.Listeners {
			line := view.Listener{Name: string(l.Name), Protocol: string(l.Protocol), Port: l.Port, Host: string(deref(l.Hostname, ""))}
			for _, status := range s.Status.Listeners {
				if status.Name == l.Name {
					line.Routes, line.Conditions = status.AttachedRoutes, status.Conditions
				}
			}
			v.Listeners = append(v.Listeners, line)
		}
		out = append(out, v)
	}
	return out
}

func policyView(p *gatewayv1.BackendTLSPolicy) view.Policy {
	v := view.Policy{Namespace: p.Namespace, Name: p.Name, Host: string(p.Spec.Validation.Hostname), Trusts: "the machine's authorities"}
	for _, ref := range p.Spec.TargetRefs {
		target := string(ref.Name)
		if ref.SectionName != nil {
			target += ", port " + string(*ref.SectionName)
		}
		v.Targets = append(v.Targets, target)
	}
	var signers []string
	for _, ref := range p.Spec.Validation.CACertificateRefs {
		signers = append(signers, fmt.Sprintf("%s %s", ref.Kind, ref.Name))
	}
	if len(signers) > 0 {
		v.Trusts = strings.Join(signers, ", ")
	}
	for _, a := range p.Status.Ancestors {
		if a.ControllerName == ControllerName {
			v.Ancestors = append(v.Ancestors, view.Parent{Name: string(a.AncestorRef.Name), Conditions: a.Conditions})
		}
	}
	return v
}

func (o *routeObject) view(parents []gatewayv1.RouteParentStatus) view.Route {
	out := view.Route{Kind: o.kind, Namespace: o.Namespace, Name: o.Name, Created: o.CreationTimestamp.Time, Parents: parentViews(o.Namespace, parents)}
	for _, h := range o.hostnames {
		out.Hosts = append(out.Hosts, string(h))
	}
	for _, rule := range o.rules {
		out.Rules = append(out.Rules, ruleView(o.Namespace, rule))
	}
	for _, rule := range o.streams {
		v := view.Rule{Does: []string{"passes the encrypted stream on"}}
		for _, b := range rule.BackendRefs {
			v.Targets = append(v.Targets, targetView(o.Namespace, b))
		}
		out.Rules = append(out.Rules, v)
	}
	return out
}

func ruleView(namespace string, rule gatewayv1.HTTPRouteRule) view.Rule {
	v := view.Rule{Matches: []string{}}
	for _, m := range rule.Matches {
		v.Matches = append(v.Matches, matchText(m))
	}
	for _, filter := range rule.Filters {
		v.Does = append(v.Does, "filter "+string(filter.Type))
	}
	if t := rule.Timeouts; t != nil && t.Request != nil {
		v.Does = append(v.Does, "times out after "+string(*t.Request))
	}
	for _, b := range rule.BackendRefs {
		v.Targets = append(v.Targets, targetView(namespace, b.BackendRef))
	}
	return v
}

// parentViews are the entries of this controller.
func parentViews(namespace string, parents []gatewayv1.RouteParentStatus) []view.Parent {
	var out []view.Parent
	for _, p := range parents {
		if p.ControllerName != ControllerName {
			continue
		}
		name := fmt.Sprintf("%s %s/%s", deref(p.ParentRef.Kind, kindGateway), deref(p.ParentRef.Namespace, gatewayv1.Namespace(namespace)), p.ParentRef.Name)
		if p.ParentRef.SectionName != nil {
			name += ", " + string(*p.ParentRef.SectionName)
		}
		out = append(out, view.Parent{Name: name, Conditions: slices.Clone[[]metav1.Condition](p.Conditions)})
	}
	return out
}

func targetView(namespace string, b gatewayv1.BackendRef) view.Target {
	key := BackendKey{Namespace: string(deref(b.Namespace, gatewayv1.Namespace(namespace))), Service: string(b.Name), Port: deref(b.Port, 0)}
	return view.Target{Backend: key.String(), Weight: deref(b.Weight, 1)}
}

// matchText is a match in the words of the API.
func matchText(m gatewayv1.HTTPRouteMatch) string {
	var parts []string
	if m.Method != nil {
		parts = append(parts, string(*m.Method))
	}
	path := "/"
	if m.Path != nil {
		path = deref(m.Path.Value, "/")
		switch deref(m.Path.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchPathPrefix:
			path = strings.TrimSuffix(path, "/") + "/*"
		case gatewayv1.PathMatchRegularExpression:
			path = "~" + path
		}
	} else {
		path += "*"
	}
	parts = append(parts, path)
	for _, h := range m.Headers {
		parts = append(parts, string(h.Name)+": "+h.Value)
	}
	for _, q := range m.QueryParams {
		parts = append(parts, "?"+string(q.Name)+"="+q.Value)
	}
	return strings.Join(parts, " ")
}
