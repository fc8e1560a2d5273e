package traffic

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"
)

// facts reads the objects of a test from YAML documents.
func facts(t testing.TB, documents ...string) Facts {
	t.Helper()
	f := Facts{Address: "127.0.0.1"}
	for _, d := range strings.Split(strings.Join(documents, "\n---\n"), "\n---\n") {
		if strings.TrimSpace(d) == "" {
			continue
		}
		var kind metav1.TypeMeta
		decode(t, d, &kind, false)
		switch kind.Kind {
		case "GatewayClass":
			f.Classes = append(f.Classes, read[gatewayv1.GatewayClass](t, d))
		case "Gateway":
			f.Gateways = append(f.Gateways, read[gatewayv1.Gateway](t, d))
		case "HTTPRoute":
			f.Routes = append(f.Routes, read[gatewayv1.HTTPRoute](t, d))
		case "GRPCRoute":
			f.GRPCRoutes = append(f.GRPCRoutes, read[gatewayv1.GRPCRoute](t, d))
		case "TLSRoute":
			f.TLSRoutes = append(f.TLSRoutes, read[gatewayv1.TLSRoute](t, d))
		case "ListenerSet":
			f.ListenerSets = append(f.ListenerSets, read[gatewayv1.ListenerSet](t, d))
		case "BackendTLSPolicy":
			f.Policies = append(f.Policies, read[gatewayv1.BackendTLSPolicy](t, d))
		case "Secret":
			f.Secrets = append(f.Secrets, read[corev1.Secret](t, d))
		case "ConfigMap":
			f.ConfigMaps = append(f.ConfigMaps, read[corev1.ConfigMap](t, d))
		case "ReferenceGrant":
			f.Grants = append(f.Grants, read[gatewayv1beta1.ReferenceGrant](t, d))
		case "Service":
			f.Services = append(f.Services, read[corev1.Service](t, d))
		case "Namespace":
			f.Namespaces = append(f.Namespaces, read[corev1.Namespace](t, d))
		default:
			t.Fatalf("document of unknown kind %q:\n%s", kind.Kind, d)
		}
	}
	return f
}

// compile compiles everything.
func compile(f Facts) (*Table, Statuses) {
	c := Compile(f, nil)
	return c.Table, c.Statuses
}

func read[T any](t testing.TB, document string) T {
	t.Helper()
	var v T
	decode(t, document, &v, true)
	return v
}

func decode(t testing.TB, document string, into any, strict bool) {
	t.Helper()
	unmarshal := func(b []byte, v any) error { return yaml.Unmarshal(b, v) }
	if strict {
		unmarshal = func(b []byte, v any) error { return yaml.UnmarshalStrict(b, v) }
	}
	if err := unmarshal([]byte(document), into); err != nil {
		t.Fatalf("reading test object: %v\n%s", err, document)
	}
}

// base is a class, and a Gateway that takes every route.
const base = `
kind: GatewayClass
metadata: {name: escale}
spec: {controllerName: escale.dev/gateway}
---
kind: Gateway
metadata: {name: edge, namespace: infra, generation: 3}
spec:
  gatewayClassName: escale
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
---
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
`

// httpRoute is a route in namespace shop, attached to base's Gateway; spec is indented by two spaces.
func httpRoute(name, spec string) string {
	return `
kind: HTTPRoute
metadata: {name: ` + name + `, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra}]
` + spec
}

func TestPrecedence(t *testing.T) {
	backend := "    backendRefs: [{name: web, port: 80}]\n"
	rule := func(matches string) string { return "  - matches: [" + matches + "]\n" + backend }
	// Each rule is a route of its own, named by what it matches, so that the answer names the winner.
	routes := []string{
		httpRoute("any", "  rules:\n"+rule(`{path: {value: /}}`)),
		httpRoute("exact", "  rules:\n"+rule(`{path: {type: Exact, value: /cart}}`)),
		httpRoute("prefix", "  rules:\n"+rule(`{path: {value: /cart}}`)),
		httpRoute("longer", "  rules:\n"+rule(`{path: {value: /cart/items/}}`)),
		httpRoute("post", "  rules:\n"+rule(`{path: {value: /cart/items}, method: POST}`)),
		httpRoute("header", "  rules:\n"+rule(`{path: {value: /cart/items}, headers: [{name: x-user, value: a}]}`)),
		httpRoute("headers", "  rules:\n"+rule(`{path: {value: /cart/items}, headers: [{name: x-user, value: a}, {name: x-beta, value: "1"}]}`)),
		httpRoute("query", "  rules:\n"+rule(`{path: {value: /cart/items}, queryParams: [{name: q, value: "1"}]}`)),
		httpRoute("host", "  hostnames: [shop.example.com]\n  rules:\n"+rule(`{path: {value: /host}}`)),
		httpRoute("wildcard", "  hostnames: ['*.example.com']\n  rules:\n"+rule(`{path: {value: /host}}`)),
		httpRoute("wilder", "  hostnames: ['*.com']\n  rules:\n"+rule(`{path: {value: /host/long}}`)),
		httpRoute("encoded", "  rules:\n"+rule(`{path: {value: /enc/a%2Fb}}`)),
	}
	table, _ := compile(facts(t, append([]string{base}, routes...)...))
	for _, c := range []struct {
		name, method, url, want string
		headers                 []string
	}{
		{name: "exact before prefix", url: "/cart", want: "exact"},
		{name: "prefix takes the trailing slash", url: "/cart/", want: "prefix"},
		{name: "prefix ends at a segment", url: "/carton", want: "any"},
		{name: "longest prefix", url: "/cart/items", want: "longer"},
		{name: "below the longest prefix", url: "/cart/items/7/x", want: "longer"},
		{name: "method before headers", method: "POST", url: "/cart/items", headers: []string{"X-User", "a"}, want: "post"},
		{name: "header", url: "/cart/items", headers: []string{"X-User", "a"}, want: "header"},
		{name: "header of another value", url: "/cart/items", headers: []string{"X-User", "b"}, want: "longer"},
		{name: "more headers", url: "/cart/items", headers: []string{"X-User", "a", "X-Beta", "1"}, want: "headers"},
		{name: "headers before query", url: "/cart/items?q=1", headers: []string{"X-User", "a"}, want: "header"},
		{name: "query", url: "/cart/items?q=1&r=2", want: "query"},
		{name: "first query value counts", url: "/cart/items?q=2&q=1", want: "longer"},
		{name: "exact host", url: "http://shop.example.com/host/long", want: "host"},
		{name: "host in capitals with port and root", url: "http://SHOP.example.com.:8080/host", want: "host"},
		{name: "longest wildcard", url: "http://a.b.example.com/host/long", want: "wildcard"},
		{name: "wildcard needs a label", url: "http://example.com/host/long", want: "wilder"},
		{name: "next host where no rule of the first fits", url: "http://shop.example.com/cart", want: "exact"},
		{name: "encoded slash is no separator", url: "/enc/a%2fb/c", want: "encoded"},
		{name: "encoded slash is not a slash", url: "/enc/a/b", want: "any"},
		{name: "encoded letter", url: "/c%61rt", want: "exact"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = "GET"
			}
			r := httptest.NewRequest(method, c.url, nil)
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Set(c.headers[i], c.headers[i+1])
			}
			path, err := requestPath(r.URL)
			if err != nil {
				t.Fatal(err)
			}
			e := table.lookup(requestHost(r.Host), path, r)
			if e == nil || e.rule.route != "shop/"+c.want {
				t.Errorf("got %+v, want route %q", e, c.want)
			}
		})
	}
}

func TestPrecedenceOfEqualMatches(t *testing.T) {
	spec := "  rules:\n  - backendRefs: [{name: web, port: 80}]\n"
	day := func(d int) metav1.Time { return metav1.NewTime(time.Date(2026, 1, d, 0, 0, 0, 0, time.UTC)) }
	for _, c := range []struct {
		name    string
		created map[string]metav1.Time
		want    string
	}{
		{"the oldest", map[string]metav1.Time{"a": day(2), "b": day(1)}, "b"},
		{"the first by name", map[string]metav1.Time{"a": day(1), "b": day(1)}, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts(t, base, httpRoute("b", spec), httpRoute("a", spec))
			for i := range f.Routes {
				f.Routes[i].CreationTimestamp = c.created[f.Routes[i].Name]
			}
			table, _ := compile(f)
			e := table.lookup("any", "/", httptest.NewRequest("GET", "/", nil))
			if e.rule.route != "shop/"+c.want {
				t.Errorf("got %q, want %q", e.rule.route, c.want)
			}
		})
	}
}

func TestListenerIsolation(t *testing.T) {
	gateway := strings.Replace(base, "listeners:", `listeners:
  - {name: apps, port: 80, protocol: HTTP, hostname: '*.apps.test', allowedRoutes: {namespaces: {from: All}}}`, 1)
	table, statuses := compile(facts(t, gateway, `
kind: HTTPRoute
metadata: {name: open, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra, sectionName: http}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`))
	r := httptest.NewRequest("GET", "/", nil)
	if e := table.lookup("other.test", "/", r); e == nil {
		t.Error("the listener for every host does not serve its route")
	}
	if e := table.lookup("x.apps.test", "/", r); e != nil {
		t.Error("a host of the more specific listener reached a route that is not attached to it")
	}
	got := map[gatewayv1.SectionName]int32{}
	for _, l := range statuses.Gateways[types.NamespacedName{Namespace: "infra", Name: "edge"}].Listeners {
		got[l.Name] = l.AttachedRoutes
	}
	if diff := cmp.Diff(map[gatewayv1.SectionName]int32{"apps": 0, "http": 1}, got); diff != "" {
		t.Errorf("attached routes (-want +got):\n%s", diff)
	}
}

// short is a condition in one line: "Accepted=True/Accepted".
func short(c metav1.Condition) string { return c.Type + "=" + string(c.Status) + "/" + c.Reason }

func shorts(list []metav1.Condition) string {
	var s []string
	for _, c := range list {
		s = append(s, short(c))
	}
	return strings.Join(s, " ")
}

func TestRouteStatus(t *testing.T) {
	const good = "  rules: [{backendRefs: [{name: web, port: 80}]}]\n"
	for _, c := range []struct {
		name      string
		documents []string
		want      string
		message   string // part of any condition's message
	}{
		{
			name: "all well", documents: []string{base, httpRoute("r", good)},
			want: "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "no such listener", documents: []string{base, strings.Replace(httpRoute("r", good), "namespace: infra}", "namespace: infra, sectionName: https}", 1)},
			want: "Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "port of another listener", documents: []string{base, strings.Replace(httpRoute("r", good), "namespace: infra}", "namespace: infra, port: 81}", 1)},
			want: "Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "namespace not allowed", documents: []string{strings.Replace(base, "from: All", "from: Same", 1), httpRoute("r", good)},
			want: "Accepted=False/NotAllowedByListeners ResolvedRefs=True/ResolvedRefs", message: `namespace "shop"`,
		},
		{
			name: "namespace chosen by label", documents: []string{
				strings.Replace(base, "from: All", "from: Selector, selector: {matchLabels: {team: a}}", 1), httpRoute("r", good),
				"kind: Namespace\nmetadata: {name: shop, labels: {team: a}}"},
			want: "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "namespace not chosen by label", documents: []string{
				strings.Replace(base, "from: All", "from: Selector, selector: {matchLabels: {team: a}}", 1), httpRoute("r", good),
				"kind: Namespace\nmetadata: {name: shop, labels: {team: b}}"},
			want: "Accepted=False/NotAllowedByListeners ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "no common host", documents: []string{
				strings.Replace(base, "protocol: HTTP,", "protocol: HTTP, hostname: a.test,", 1), httpRoute("r", "  hostnames: [b.test]\n"+good)},
			want: "Accepted=False/NoMatchingListenerHostname ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "listener of another protocol", documents: []string{strings.Replace(base, "protocol: HTTP,", "protocol: TLS,", 1), httpRoute("r", good)},
			want: "Accepted=False/NotAllowedByListeners ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "no such Service", documents: []string{base, httpRoute("r", "  rules: [{backendRefs: [{name: db, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/BackendNotFound", message: `there is no Service "shop/db"`,
		},
		{
			name: "no such port", documents: []string{base, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 81}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/BackendNotFound", message: "no TCP port 81",
		},
		{
			name: "backend of another kind", documents: []string{base, httpRoute("r", "  rules: [{backendRefs: [{kind: Bucket, name: web, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/InvalidKind",
		},
		{
			name: "protocol not spoken", documents: []string{
				strings.Replace(base, "port: 80}]}\n", "port: 80, appProtocol: kubernetes.io/wss}]}\n", 1), httpRoute("r", good)},
			want: "Accepted=True/Accepted ResolvedRefs=False/UnsupportedProtocol",
		},
		{
			name: "other namespace without a grant", documents: []string{
				base, other, httpRoute("r", "  rules: [{backendRefs: [{name: web, namespace: other, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/RefNotPermitted",
		},
		{
			name: "other namespace with a grant", documents: []string{
				base, other, grant, httpRoute("r", "  rules: [{backendRefs: [{name: web, namespace: other, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "other namespace with a grant for another Service", documents: []string{
				base, other, strings.Replace(grant, "kind: Service", "kind: Service, name: db", 1),
				httpRoute("r", "  rules: [{backendRefs: [{name: web, namespace: other, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/RefNotPermitted",
		},
		{
			name: "a regular expression that is none, alone", documents: []string{
				base, httpRoute("r", "  rules: [{matches: [{path: {type: RegularExpression, value: '/a(b'}}], backendRefs: [{name: web, port: 80}]}]\n")},
			want:    "Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs",
			message: `rules[0].matches[0].path.value "/a(b": error parsing regexp`,
		},
		{
			name: "an extension beside a rule that is served", documents: []string{
				base, httpRoute("r", `  rules:
  - backendRefs: [{name: web, port: 80}]
  - filters: [{type: ExtensionRef, extensionRef: {group: a.test, kind: Filter, name: f}}]
    backendRefs: [{name: web, port: 80}]
`)},
			want:    "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs PartiallyInvalid=True/UnsupportedValue",
			message: `Dropped Rule: rules[1].filters[0].type "ExtensionRef" is not supported`,
		},
		{
			name: "a rewrite on a backend", documents: []string{
				base, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: a.test}}]}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=False/UnsupportedValue", message: "only have header modifiers",
		},
		{
			name: "fields without effect", documents: []string{
				base, httpRoute("r", "  rules: [{sessionPersistence: {sessionName: s}, backendRefs: [{name: web, port: 80}]}]\n")},
			want: "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs", message: "Without effect, because not supported: rules[0].sessionPersistence.",
		},
		{
			name: "Gateway that is not served", documents: []string{
				strings.Replace(base, "gatewayClassName: escale", "gatewayClassName: escale\n  addresses: [{type: Hostname, value: a.test}]", 1), httpRoute("r", good)},
			want: "Accepted=False/Pending ResolvedRefs=True/ResolvedRefs",
		},
		{
			name: "Gateway of another class", documents: []string{
				strings.Replace(base, "gatewayClassName: escale", "gatewayClassName: nginx", 1), httpRoute("r", good)},
			want: "none",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, statuses := compile(facts(t, c.documents...))
			parents := statuses.Routes[objectRef{kindHTTPRoute, types.NamespacedName{Namespace: "shop", Name: "r"}}].statuses()
			if len(parents) == 0 {
				if c.want != "none" {
					t.Errorf("no status, want %q", c.want)
				}
				return
			}
			if got := shorts(parents[0].Conditions); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var messages string
			for _, m := range parents[0].Conditions {
				messages += m.Message + "\n"
			}
			if !strings.Contains(messages, c.message) {
				t.Errorf("messages lack %q:\n%s", c.message, messages)
			}
		})
	}
}

const other = `
kind: Service
metadata: {name: web, namespace: other}
spec: {ports: [{port: 80}]}
`

const grant = `
kind: ReferenceGrant
metadata: {name: shop, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
`

func TestGatewayStatus(t *testing.T) {
	listeners := func(list string) string {
		head, _, _ := strings.Cut(base, "  listeners:")
		return head + "  listeners:\n" + list
	}
	for _, c := range []struct {
		name, documents, want, listener string
	}{
		{
			"all well", base, "Accepted=True/Accepted Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs",
			"Accepted=True/Accepted Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs Conflicted=False/NoConflicts",
		},
		{
			"protocol not served", listeners("  - {name: tls, port: 443, protocol: TLS}\n"),
			"Accepted=False/ListenersNotValid Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs",
			"Accepted=False/UnsupportedProtocol Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs Conflicted=False/NoConflicts",
		},
		{
			"one of two protocols served", listeners("  - {name: tls, port: 443, protocol: TLS}\n  - {name: http, port: 80, protocol: HTTP}\n"),
			"Accepted=True/ListenersNotValid Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs",
			"Accepted=False/UnsupportedProtocol Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs Conflicted=False/NoConflicts",
		},
		{
			"kind of route not served", listeners("  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}\n"),
			"Accepted=False/ListenersNotValid Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs",
			"Accepted=True/Accepted Programmed=False/Invalid ResolvedRefs=False/InvalidRouteKinds Conflicted=False/NoConflicts",
		},
		{
			"one of two kinds served", listeners("  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: HTTPRoute}]}}\n"),
			"Accepted=True/Accepted Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs",
			"Accepted=True/Accepted Programmed=True/Programmed ResolvedRefs=False/InvalidRouteKinds Conflicted=False/NoConflicts",
		},
		{
			"address of another machine", strings.Replace(base, "gatewayClassName: escale", "gatewayClassName: escale\n  addresses: [{value: 10.9.8.7}]", 1),
			"Accepted=True/Accepted Programmed=False/AddressNotUsable ResolvedRefs=True/ResolvedRefs",
			"Accepted=False/Pending Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs Conflicted=False/NoConflicts",
		},
		{
			"parameters", strings.Replace(base, "gatewayClassName: escale", "gatewayClassName: escale\n  infrastructure: {parametersRef: {group: a, kind: b, name: c}}", 1),
			"Accepted=False/InvalidParameters Programmed=False/InvalidParameters ResolvedRefs=True/ResolvedRefs",
			"Accepted=False/Pending Programmed=False/Invalid ResolvedRefs=True/ResolvedRefs Conflicted=False/NoConflicts",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, statuses := compile(facts(t, c.documents))
			s := statuses.Gateways[types.NamespacedName{Namespace: "infra", Name: "edge"}]
			if got := shorts(s.Conditions); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := shorts(s.Listeners[0].Conditions); got != c.listener {
				t.Errorf("listener: got  %s\nwant %s", got, c.listener)
			}
			if g := s.Conditions[0].ObservedGeneration; g != 3 {
				t.Errorf("observed generation %d, want 3", g)
			}
		})
	}
}

func TestClassStatus(t *testing.T) {
	_, statuses := compile(facts(t, base, "kind: GatewayClass\nmetadata: {name: other}\nspec: {controllerName: example.com/x}"))
	if len(statuses.Classes) != 1 {
		t.Fatalf("got statuses of %d classes, want 1", len(statuses.Classes))
	}
	s := statuses.Classes["escale"]
	if c := meta.FindStatusCondition(s.Conditions, "Accepted"); c == nil || short(*c) != "Accepted=True/Accepted" {
		t.Errorf("got %s", shorts(s.Conditions))
	}
	for i := 1; i < len(s.SupportedFeatures); i++ {
		if s.SupportedFeatures[i-1].Name >= s.SupportedFeatures[i].Name {
			t.Errorf("features are not in order at %q", s.SupportedFeatures[i].Name)
		}
	}
}

// A route that is attached twice to listeners of the same name must not be served, or counted, twice.
func TestAttachedOnceThroughTwoParents(t *testing.T) {
	two := strings.Replace(base, "listeners:", "listeners:\n  - {name: alt, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}", 1)
	table, statuses := compile(facts(t, two, `
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra, sectionName: http}, {name: edge, namespace: infra, sectionName: alt}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`))
	if n := len(statuses.Routes[objectRef{kindHTTPRoute, types.NamespacedName{Namespace: "shop", Name: "r"}}].statuses()); n != 2 {
		t.Errorf("got %d parents, want 2", n)
	}
	l := table.sockets[SocketKey{}].find("")
	if n := len((*l.routes().any).entries); n != 1 {
		t.Errorf("got %d entries, want 1", n)
	}
	if len(table.backends.list()) != 1 || len(table.series.list()) != 2 {
		t.Errorf("got backends %v and series %v", table.backends.list(), table.series.list())
	}
}
