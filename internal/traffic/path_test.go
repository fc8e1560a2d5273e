package traffic

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestRequestPath(t *testing.T) {
	for _, c := range []struct{ name, target, want string }{
		{"plain", "/a/b", "/a/b"},
		{"root", "/", "/"},
		{"encoded letters", "/%61%20b", "/a b"},
		{"encoded slash", "/a%2fb/c%20d", "/a%2Fb/c d"},
		{"empty segments stay", "//a//", "//a//"},
		{"dots that are no segment", "/a../.b/...", "/a../.b/..."},
		{"dot segment", "/a/./b", "refused"},
		{"parent segment at the end", "/a/..", "refused"},
		{"encoded parent segment", "/a/%2e%2e/b", "refused"},
		{"parent segment behind an encoded slash", "/a%2f../b", "refused"},
		{"not a path", "*", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.ParseRequestURI(c.target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := requestPath(u)
			if err != nil {
				got = "refused"
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

// The table of HTTPPathModifier.replacePrefixMatch in the Gateway API.
func TestReplacePrefix(t *testing.T) {
	for _, c := range []struct{ path, prefix, replacement, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/bar", "/", "/xyz", "/xyz/bar"},
	} {
		m := pathModifier{replacePrefix, c.replacement}
		if got := m.apply(c.path, strings.TrimSuffix(c.prefix, "/")); got != c.want {
			t.Errorf("%q with %q for %q: got %q, want %q", c.path, c.replacement, c.prefix, got, c.want)
		}
	}
}

func TestCommonHosts(t *testing.T) {
	for _, c := range []struct{ listener, route, want string }{
		{"", "a.test", "a.test"},
		{"a.test", "", "a.test"},
		{"a.test", "a.test", "a.test"},
		{"a.test", "b.test", ""},
		{"*.test", "a.test", "a.test"},
		{"*.test", "a.b.test", "a.b.test"},
		{"*.test", "test", ""},
		{"a.test", "*.test", "a.test"},
		{"*.a.test", "*.test", "*.a.test"},
		{"*.test", "*.a.test", "*.a.test"},
		{"*.a.test", "*.b.test", ""},
	} {
		f := facts(t, "kind: HTTPRoute\nspec: {hostnames: ['"+c.route+"']}")
		hostnames := f.Routes[0].Spec.Hostnames
		if c.route == "" {
			hostnames = nil
		}
		if got := strings.Join(commonHosts(c.listener, hostnames), " "); got != c.want {
			t.Errorf("listener %q and route %q: got %q, want %q", c.listener, c.route, got, c.want)
		}
	}
}

func TestEndpointAddresses(t *testing.T) {
	slice := func(document string) discoveryv1.EndpointSlice { return read[discoveryv1.EndpointSlice](t, document) }
	v4 := slice(`
addressType: IPv4
ports: [{name: http, port: 8080}, {name: admin, port: 9090}]
endpoints:
- {addresses: [10.0.0.3]}
- {addresses: [10.0.0.2], conditions: {ready: true, serving: true, terminating: false}}
- {addresses: [10.0.0.4], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.5], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.0.0.6], conditions: {ready: false}}
`)
	v6 := slice("addressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['fd00::1']}]")
	names := slice("addressType: FQDN\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [a.test]}]")
	for _, c := range []struct {
		name, port      string
		slices          []discoveryv1.EndpointSlice
		ready, draining string
	}{
		{"conditions", "http", []discoveryv1.EndpointSlice{v4, names}, "10.0.0.2:8080 10.0.0.3:8080", "10.0.0.4:8080"},
		{"another port", "admin", []discoveryv1.EndpointSlice{v4}, "10.0.0.2:9090 10.0.0.3:9090", "10.0.0.4:9090"},
		{"no such port", "", []discoveryv1.EndpointSlice{v4}, "", ""},
		{"one family of two", "http", []discoveryv1.EndpointSlice{v6, v4, v4}, "10.0.0.2:8080 10.0.0.3:8080", "10.0.0.4:8080"},
		{"IPv6 alone", "http", []discoveryv1.EndpointSlice{v6}, "[fd00::1]:8080", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := endpointAddresses(c.port, c.slices)
			if got := strings.Join(a.ready, " "); got != c.ready {
				t.Errorf("ready: got %q, want %q", got, c.ready)
			}
			if got := strings.Join(a.draining, " "); got != c.draining {
				t.Errorf("draining: got %q, want %q", got, c.draining)
			}
		})
	}
}

// FuzzRequest sends any target and host through the way of a request: what is let through has a path without dot
// segments, finds what a plain search through all rules finds, and stays such a path when it is rewritten.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"/", "/a", "/a/b/", "/a%2Fb", "//a", "/a/..", "/%2e%2e/", "/a;b?x", "http://h/a", "*", "/a/b/c%zz"} {
		f.Add(s, "a.test", "GET")
	}
	f.Add("/a/b", "X.A.test.:80", "POST")
	f.Add("/", "[::1]:80", "GET")
	var rules []string
	prefixes := []string{"/", "/a", "/a/b", "/a/b/c", "/a%2Fb", "/b", "//a"}
	for _, p := range prefixes {
		rules = append(rules, "  - matches: [{path: {value: '"+p+"'}}]\n", "  - matches: [{path: {type: Exact, value: '"+p+"'}, method: POST}]\n")
	}
	spec := "  rules:\n" + strings.Join(rules, "")
	table, _ := compile(facts(f, base, httpRoute("any", spec), httpRoute("wild", "  hostnames: ['*.test']\n"+spec), httpRoute("exact", "  hostnames: [a.test]\n"+spec)))
	f.Fuzz(func(t *testing.T, target, host, method string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip()
		}
		path, err := requestPath(u)
		if err != nil {
			t.Skip()
		}
		checkPath(t, path)
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, r.Method = u, method
		name := requestHost(host)
		e := table.lookup(name, path, r)
		if want := plainSearch(name, path, method, prefixes); e == nil || e.path != want.path || (e.kind == exactPath) != want.exact || e.rule.route != want.route {
			t.Fatalf("host %q path %q method %q: got %+v, want %+v", name, path, method, e, want)
		}
		if e.kind != exactPath {
			rewritten := pathModifier{replacePrefix, "/new/"}.apply(u.EscapedPath(), e.path)
			checkPath(t, rewritten)
			if again, err := url.ParseRequestURI(rewritten); err != nil || again.EscapedPath() != rewritten {
				t.Fatalf("%q was rewritten to %q, which does not survive: %v", target, rewritten, err)
			}
		}
	})
}

func checkPath(t *testing.T, path string) {
	t.Helper()
	if !strings.HasPrefix(path, "/") || slices.Contains(strings.Split(path, "/"), "..") || slices.Contains(strings.Split(path, "/"), ".") {
		t.Fatalf("path %q was let through", path)
	}
}

type found struct {
	path, route string
	exact       bool
}

// plainSearch says what the rules of FuzzRequest mean, without an index.
func plainSearch(host, path, method string, prefixes []string) found {
	f := found{route: "shop/any"}
	if host == "a.test" {
		f.route = "shop/exact"
	} else if len(host) > len(".test") && strings.HasSuffix(host, ".test") {
		f.route = "shop/wild"
	}
	for _, p := range prefixes {
		if path == p && method == "POST" {
			return found{path: p, route: f.route, exact: true}
		}
		p = strings.TrimSuffix(p, "/")
		if (path == p || strings.HasPrefix(path, p+"/")) && len(p) > len(f.path) {
			f.path = p
		}
	}
	return f
}

// BenchmarkLookup finds one of 5,000 hosts with four paths each, and a path of only slashes, which is the worst case.
func BenchmarkLookup(b *testing.B) {
	table := &Table{sockets: map[SocketKey]*socketTable{}}
	index := &hostIndex[*pathIndex]{}
	table.socket(SocketKey{}).listener("").hosts.Store(index)
	hosts := make([]string, 5000)
	for i := range hosts {
		hosts[i] = "h" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + ".test"
		plan := &routePlan{}
		for _, path := range []string{"", "/api", "/api/v1", "/" + strings.Repeat("p", 1000)} {
			plan.entries = append(plan.entries, &entry{conditions: unconditional, kind: prefixPath, path: path, rank: rank{age: &plan.age}, rule: &rule{}})
		}
		index.set(hosts[i], newPathIndex([]*routePlan{plan}))
	}
	for _, c := range []struct{ name, path string }{{"usual", "/api/v1/items/7"}, {"slashes", strings.Repeat("/", 60<<10)}} {
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/", nil)
			for b.Loop() {
				if table.lookup(hosts[rand.IntN(len(hosts))], c.path, r) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkCompile compiles 5,000 routes of two rules each, all to be read again because one changed.
func BenchmarkCompile(b *testing.B) {
	f := facts(b, base)
	route := facts(b, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80}]}, {matches: [{path: {value: /api}}], backendRefs: [{name: web, port: 80}]}]\n")).Routes[0]
	for i := range 5000 {
		r := *route.DeepCopy()
		r.Name = fmt.Sprintf("r%d", i)
		r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(r.Name + ".test")}
		f.Routes = append(f.Routes, r)
	}
	for b.Loop() {
		compile(f)
	}
}
