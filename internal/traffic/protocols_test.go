package traffic

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		pattern, origin string
		want            bool
	}{
		{"*", "https://a.test", true},
		{"https://a.test", "https://a.test", true},
		{"https://a.test", "http://a.test", false},
		{"https://a.test", "https://a.test:443", true},
		{"https://a.test", "https://a.test:8443", false},
		{"https://a.test:8443", "https://a.test:8443", true},
		{"https://*.a.test", "https://x.y.a.test", true},
		{"https://*.a.test", "https://a.test", false},
		{"https://*.a.test", "https://evil-a.test", false},
		{"https://a.test", "https://a.test.evil.test", false},
		{"https://A.test", "https://a.TEST", true},
	} {
		origin, err := url.Parse(c.origin)
		if err != nil {
			t.Fatal(err)
		}
		p := compileOrigin(c.pattern)
		if got := p.matches(origin); got != c.want {
			t.Errorf("%q for %q: got %v", c.pattern, c.origin, got)
		}
	}
}

func TestCORS(t *testing.T) {
	asked := &atomic.Int64{}
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", "*") // the gateway's word counts
		fmt.Fprint(w, "page")
	})), base, httpRoute("r", `  rules:
  - filters: [{type: CORS, cors: {allowOrigins: ['https://a.test'], allowMethods: [PUT], allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 60}}]
    backendRefs: [{name: web, port: 80}]
`))
	ask := []string{"Access-Control-Request-Method", "PUT"}
	allowed := p.expect(204, "", "OPTIONS", "/", append(ask, "Origin", "https://a.test")...)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://a.test", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-a",
		"Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "60", "Access-Control-Expose-Headers": "x-b",
	} {
		if got := allowed.Header.Get(name); got != want {
			t.Errorf("preflight: %s is %q, want %q", name, got, want)
		}
	}
	refused := p.expect(204, "", "OPTIONS", "/", append(ask, "Origin", "https://evil.test")...)
	if got := refused.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("refused preflight: allows %q", got)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the backend saw %d preflights", n)
	}
	if got := p.expect(200, "page", "GET", "/", "Origin", "https://a.test").Header["Access-Control-Allow-Origin"]; len(got) != 1 || got[0] != "https://a.test" {
		t.Errorf("answer allows %q", got)
	}
	if got := p.expect(200, "page", "GET", "/", "Origin", "https://evil.test").Header["Access-Control-Allow-Origin"]; len(got) != 0 {
		t.Errorf("answer to another origin allows %q", got)
	}
	p.expect(200, "page", "OPTIONS", "/")
}

func TestMirror(t *testing.T) {
	copied := make(chan string, 100)
	release := make(chan struct{})
	defer close(release)
	slow := backendServer(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copied <- fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Set"), body)
		<-release // nobody waits for the answer
	})
	p := startPlane(t, map[string][]string{"shop/web:80": {backendServer(t, describe)}, "shop/other:80": {slow}}, base,
		"kind: Service\nmetadata: {name: other, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}", httpRoute("r", `  rules:
  - matches: [{path: {value: /never}}]
    filters: [{type: RequestMirror, requestMirror: {percent: 0, backendRef: {name: other, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: "1"}]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}
    backendRefs: [{name: web, port: 80}]
`))
	p.expect(200, "GET /a", "GET", "/a")
	if got := <-copied; got != "GET /a 1 " {
		t.Errorf("copy: %q", got)
	}
	if _, body, err := p.do("POST", "/b", strings.NewReader("cargo")); err != nil || !strings.Contains(body, "body=cargo") {
		t.Errorf("got %q, %v", body, err)
	}
	if got := <-copied; got != "POST /b 1 cargo" {
		t.Errorf("copy: %q", got)
	}
	if _, body, err := p.do("POST", "/c", strings.NewReader(strings.Repeat("x", maxMirrored+1))); err != nil || !strings.Contains(body, "body=x") {
		t.Errorf("large body: %v", err)
	}
	p.expect(200, "GET /never", "GET", "/never")
	if n := len(copied); n != 0 {
		t.Errorf("%d copies of what must not be copied: %q", n, <-copied)
	}
}

func TestMirrorShare(t *testing.T) {
	const requests = 20_000
	to := &backendRef{live: &backend{}}
	for _, c := range []struct {
		m    mirror
		want float64
	}{{mirror{of: 20, each: 100}, .2}, {mirror{of: 1, each: 8}, .125}, {mirror{of: 100, each: 100}, 1}, {mirror{each: 100}, 0}} {
		n := 0
		for range requests {
			c.m.backend = to
			n += len(chosenMirrors([]mirror{c.m}))
		}
		// Ten standard deviations: one false alarm in more runs than there will be.
		if got, slack := float64(n)/requests, 10*.5/141.4; got < c.want-slack || got > c.want+slack {
			t.Errorf("%d in %d: %.3f of the requests were copied", c.m.of, c.m.each, got)
		}
	}
}

func TestRetryPolicy(t *testing.T) {
	var seen atomic.Int64
	var fail atomic.Int64 // how many requests to fail
	code := &atomic.Int64{}
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if fail.Add(-1) >= 0 {
			if code.Load() == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(int(code.Load()))
			return
		}
		describe(w, r)
	})), base, httpRoute("r", "  rules: [{retry: {codes: [503], attempts: 2, backoff: 1ms}, backendRefs: [{name: web, port: 80}]}]\n"))
	for _, c := range []struct {
		name       string
		code, fail int64
		method     string
		body       string
		want       int
		wantSeen   int64
	}{
		{"answers after two failures", 503, 2, "GET", "", 200, 3},
		{"gives the last answer", 503, 9, "GET", "", 503, 3},
		{"another code", 500, 1, "GET", "", 500, 1},
		{"with a body", 503, 1, "POST", "cargo", 200, 2},
		{"with a body too large to keep", 503, 1, "POST", strings.Repeat("x", maxReplayed+1), 503, 1},
		{"a connection that broke", 0, 1, "POST", "cargo", 200, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen.Store(0)
			fail.Store(c.fail)
			code.Store(c.code)
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			res, answer, err := p.do(c.method, "/", body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.want || seen.Load() != c.wantSeen {
				t.Errorf("got %d after %d requests, want %d after %d", res.StatusCode, seen.Load(), c.want, c.wantSeen)
			}
			if c.want == 200 && c.body != "" && !strings.Contains(answer, "body="+c.body) {
				t.Errorf("the body is gone: %q", answer)
			}
		})
	}
}

func TestRetryAfterBackendTimeout(t *testing.T) {
	var seen atomic.Int64
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) == 1 {
			<-r.Context().Done() // until the gateway gives up
			return
		}
		describe(w, r)
	})), base, httpRoute("r",
		"  rules: [{timeouts: {backendRequest: 200ms}, retry: {attempts: 5, backoff: 1ms}, backendRefs: [{name: web, port: 80}]}]\n"))
	p.expect(200, "GET /", "GET", "/")
	if seen.Load() < 2 {
		t.Error("answered without a second request")
	}
}

func TestRetryWait(t *testing.T) {
	p := &retryPolicy{backoff: 100 * time.Millisecond}
	for n, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want *= time.Millisecond
		if got := p.wait(n); got < want || got > want*5/4 {
			t.Errorf("wait %d: %s, want %s to a quarter more", n, got, want)
		}
	}
	long := &retryPolicy{backoff: time.Minute}
	if got := long.wait(3); got < time.Minute {
		t.Errorf("got %s, less than the rule asks for", got)
	}
}

func TestPatterns(t *testing.T) {
	table, _ := compile(facts(t, base,
		httpRoute("prefix", "  rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: web, port: 80}]}]\n"),
		httpRoute("exact", "  rules: [{matches: [{path: {type: Exact, value: /a/1}}], backendRefs: [{name: web, port: 80}]}]\n"),
		httpRoute("short", "  rules: [{matches: [{path: {type: RegularExpression, value: '/a/.*'}}], backendRefs: [{name: web, port: 80}]}]\n"),
		httpRoute("long", "  rules: [{matches: [{path: {type: RegularExpression, value: '/a/[0-9]+'}}], backendRefs: [{name: web, port: 80}]}]\n"),
		httpRoute("header", "  rules: [{matches: [{headers: [{type: RegularExpression, name: x-v, value: '[0-9]+'}]}], backendRefs: [{name: web, port: 80}]}]\n"),
		httpRoute("query", "  rules: [{matches: [{queryParams: [{type: RegularExpression, name: q, value: 'a|b'}]}], backendRefs: [{name: web, port: 80}]}]\n"),
	))
	for _, c := range []struct{ target, version, want string }{
		{"/a/1", "", "exact"},
		{"/a/22", "", "long"},
		{"/a/x", "", "short"},
		{"/a", "", "prefix"},
		{"/b", "7", "header"},
		{"/b", "v7", "none"},
		{"/b?q=b", "", "query"},
		{"/b?q=ab", "", "none"},
	} {
		r := httptest.NewRequest("GET", c.target, nil)
		r.Header.Set("X-V", c.version)
		got := "none"
		if e := table.lookup("any", r.URL.Path, r); e != nil {
			got = strings.TrimPrefix(e.rule.route, "shop/")
		}
		if got != c.want {
			t.Errorf("%s with %q: got %s, want %s", c.target, c.version, got, c.want)
		}
	}
}

func TestGRPCPaths(t *testing.T) {
	route := func(name, match string) string {
		return "kind: GRPCRoute\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  parentRefs: [{name: edge, namespace: infra}]\n" +
			"  rules: [{matches: [{method: {" + match + "}}], backendRefs: [{name: web, port: 80}]}]\n"
	}
	table, statuses := compile(facts(t, base, route("both", "service: shop.Cart, method: Add"), route("service", "service: shop.Cart"),
		route("method", "method: Ping"), route("pattern", "type: RegularExpression, service: 'shop\\.[A-Z].*', method: List")))
	for path, want := range map[string]string{
		"/shop.Cart/Add": "both", "/shop.Cart/Remove": "service", "/any.Thing/Ping": "method", "/shop.Stock/List": "pattern", "/any.Thing/List": "none",
	} {
		got := "none"
		if e := table.lookup("any", path, httptest.NewRequest("POST", path, nil)); e != nil {
			got = strings.TrimPrefix(e.rule.route, "shop/")
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	if !table.backends.list()[0].key.H2C {
		t.Error("backends of a GRPCRoute are spoken to in HTTP/2")
	}
	if got := shorts(statuses.Routes[objectRef{kindGRPCRoute, types.NamespacedName{Namespace: "shop", Name: "both"}}].statuses()[0].Conditions); got != "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs" {
		t.Errorf("status: %s", got)
	}
}

// The gateway's own answers to a call carry gRPC's codes.
func TestGRPCErrors(t *testing.T) {
	p := startPlane(t, nil, base, "kind: GRPCRoute\nmetadata: {name: r, namespace: shop}\nspec:\n  parentRefs: [{name: edge, namespace: infra}]\n"+
		"  rules: [{matches: [{method: {service: a.B}}], backendRefs: [{name: missing, port: 80}]}]\n")
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	c := &http.Transport{Protocols: protocols}
	defer c.CloseIdleConnections()
	for path, want := range map[string]string{"/a.B/C": "14", "/x.Y/Z": "12"} {
		r, err := http.NewRequest("POST", "http://"+p.address+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc")
		res, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != want || res.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("%s: got %d %v, want gRPC's %s", path, res.StatusCode, res.Header, want)
		}
	}
}

// Of an HTTPRoute and a GRPCRoute with one host name, the older has it: see GRPCRouteSpec.hostnames.
func TestKindsOfRoutesApart(t *testing.T) {
	f := facts(t, base, httpRoute("h", "  hostnames: [a.test]\n"+toWeb),
		"kind: GRPCRoute\nmetadata: {name: g, namespace: shop}\nspec:\n  parentRefs: [{name: edge, namespace: infra}]\n  hostnames: ['*.test']\n  rules: [{backendRefs: [{name: web, port: 80}]}]\n")
	accepted := func(parents []gatewayv1.RouteParentStatus) string { return short(parents[0].Conditions[0]) }
	name := func(n string) types.NamespacedName { return types.NamespacedName{Namespace: "shop", Name: n} }
	f.Routes[0].CreationTimestamp.Time = time.Unix(1, 0)
	f.GRPCRoutes[0].CreationTimestamp.Time = time.Unix(2, 0)
	_, s := compile(f)
	if h, g := accepted(s.Routes[objectRef{kindHTTPRoute, name("h")}].statuses()), accepted(s.Routes[objectRef{kindGRPCRoute, name("g")}].statuses()); h != "Accepted=True/Accepted" || g != "Accepted=False/NotAllowedByListeners" {
		t.Errorf("older HTTPRoute: %s, %s", h, g)
	}
	f.GRPCRoutes[0].CreationTimestamp.Time = time.Unix(0, 0)
	_, s = compile(f)
	if h, g := accepted(s.Routes[objectRef{kindHTTPRoute, name("h")}].statuses()), accepted(s.Routes[objectRef{kindGRPCRoute, name("g")}].statuses()); g != "Accepted=True/Accepted" || h != "Accepted=False/NotAllowedByListeners" {
		t.Errorf("older GRPCRoute: %s, %s", h, g)
	}
}
