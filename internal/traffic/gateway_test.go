package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/prometheus/client_golang/prometheus"
)

// plane is a running gateway on loopback, with the addresses of its backends in the test's hands.
type plane struct {
	t       testing.TB
	gateway *Gateway
	address string
	client  *http.Client

	compiled  *Compiled // last
	mu        sync.Mutex
	addresses map[string]addresses // by BackendKey.String
}

// startPlane serves the objects given; endpoints are "namespace/service:port" and the addresses that are ready.
func startPlane(t testing.TB, endpoints map[string][]string, documents ...string) *plane {
	t.Helper()
	p := newPlane(t)
	for key, ready := range endpoints {
		p.addresses[key] = addresses{ready: sortedUnique(ready)}
	}
	p.install(documents...)
	return p
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	return newPlaneOn(t, loopback(t))
}

func loopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newPlaneOn(t testing.TB, l net.Listener) *plane {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	p := &plane{
		t: t, address: l.Addr().String(), addresses: map[string]addresses{},
		gateway: newGateway(l, slog.New(slog.DiscardHandler), newSharedPlane(nil, 0)),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- p.gateway.Start(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the gateway stopped with: %v", err)
		}
		for _, b := range p.gateway.backends {
			b.retire()
		}
	})
	return p
}

// series is the counts of the only route that has the backend.
func (p *plane) series(backend string) *seriesCounts {
	p.t.Helper()
	for _, s := range p.gateway.live.Load().table.series.list() {
		if s.key.Backend == backend {
			return s.use()
		}
	}
	p.t.Fatalf("nothing is counted of backend %q", backend)
	return nil
}

func (p *plane) install(documents ...string) {
	p.t.Helper()
	p.compiled = Compile(facts(p.t, documents...), p.compiled)
	if err := p.gateway.install(p.compiled.Table, p.find); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) find(key BackendKey) (addresses, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses[key.String()], nil
}

// set replaces the ready addresses of the Service web of namespace shop.
func (p *plane) set(ready ...string) {
	p.t.Helper()
	p.mu.Lock()
	p.addresses["shop/web:80"] = addresses{ready: sortedUnique(ready)}
	p.mu.Unlock()
	if err := p.gateway.updateEndpoints("shop", "web", p.find); err != nil {
		p.t.Fatal(err)
	}
}

// do sends a request to the gateway; target may start with "http://host".
func (p *plane) do(method, target string, body io.Reader, headers ...string) (*http.Response, string, error) {
	host := ""
	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		var path string
		host, path, _ = strings.Cut(rest, "/")
		target = "/" + path
	}
	r, err := http.NewRequest(method, "http://"+p.address+target, body)
	if err != nil {
		return nil, "", err
	}
	if host != "" {
		r.Host = host
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := p.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

// expect is do with an answer that must have the code and contain the text.
func (p *plane) expect(code int, text, method, target string, headers ...string) *http.Response {
	p.t.Helper()
	res, body, err := p.do(method, target, nil, headers...)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, target, err)
	}
	if res.StatusCode != code || !strings.Contains(body, text) {
		p.t.Errorf("%s %s: got %d %q, want %d with %q", method, target, res.StatusCode, body, code, text)
	}
	return res
}

// raw sends bytes to the gateway and returns the connection.
func (p *plane) raw(bytes string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, bytes); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// backendServer runs a handler and returns its address.
func backendServer(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// describe answers with what a backend sees of a request.
func describe(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Backend", "yes")
	fmt.Fprintf(w, "%s %s host=%s body=%s te=%v\n", r.Method, r.RequestURI, r.Host, body, r.TransferEncoding)
	_ = r.Header.Write(w)
}

// closedAddress is an address that refuses connections.
func closedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until waits for something another goroutine does.
func until(cond func() bool) {
	for !cond() {
		runtime.Gosched()
	}
}

const toWeb = "  rules: [{backendRefs: [{name: web, port: 80}]}]\n"

func web(addresses ...string) map[string][]string {
	return map[string][]string{"shop/web:80": addresses}
}

func TestForward(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", toWeb))
	for _, c := range []struct {
		name, target, want string
		headers            []string
	}{
		{"path and query arrive as sent", "/a%2Fb//c%20d?x=1;y=%zz&z", "GET /a%2Fb//c%20d?x=1;y=%zz&z host=", nil},
		{"host is kept", "http://shop.test:81/", "host=shop.test:81", nil},
		{"client address", "/", "X-Forwarded-For: 127.0.0.1\r\n", []string{"X-Forwarded-For", "6.6.6.6"}},
		{"host as asked", "http://shop.test/", "X-Forwarded-Host: shop.test\r\n", []string{"X-Forwarded-Host", "evil"}},
		{"protocol", "/", "X-Forwarded-Proto: http\r\n", []string{"X-Forwarded-Proto", "https"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.expect(200, c.want, "GET", c.target, c.headers...)
		})
	}
}

func TestFilters(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", `
  rules:
  - matches: [{path: {value: /headers}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-set, value: new}, {name: host, value: set.test}], add: [{name: x-add, value: two}], remove: [x-gone]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-backend, value: hidden}], add: [{name: x-more, value: "1"}]}
    backendRefs:
    - name: web
      port: 80
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-of-backend, value: "1"}]}}
  - matches: [{path: {value: /prefix}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: in.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /to/}}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /strip}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /full}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: "/all of it"}}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /extension}}]
    filters: [{type: ExtensionRef, extensionRef: {group: a.test, kind: Filter, name: f}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /missing}}]
    backendRefs: [{name: db, port: 80}]
  - matches: [{path: {value: /zero}}]
    backendRefs: [{name: web, port: 80, weight: 0}]
`))
	for _, c := range []struct{ name, target, want string }{
		{"header set", "/headers", "X-Set: new\r\n"},
		{"header added", "/headers", "X-Add: one\r\nX-Add: two\r\n"},
		{"host set", "/headers", "host=set.test"},
		{"header of the backend", "/headers", "X-Of-Backend: 1\r\n"},
		{"prefix replaced", "/prefix/a%2Fb?q=1", "GET /to/a%2Fb?q=1 host=in.test"},
		{"prefix alone replaced", "/prefix", "GET /to host"},
		{"prefix with slash replaced", "/prefix/", "GET /to/ host"},
		{"prefix removed", "/strip/a", "GET /a host"},
		{"prefix removed, nothing left", "/strip", "GET / host"},
		{"path replaced", "/full/x?q=1", "GET /all%20of%20it?q=1 host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := p.expect(200, c.want, "GET", c.target, "X-Set", "old", "X-Add", "one", "X-Gone", "1")
			if strings.HasPrefix(c.target, "/headers") &&
				(res.Header.Get("X-Backend") != "hidden" || res.Header.Get("X-More") != "1" || res.Header.Get("X-Gone") != "") {
				t.Errorf("response headers: %v", res.Header)
			}
		})
	}
	p.expect(500, `"ExtensionRef" is not supported`, "GET", "/extension")
	p.expect(500, `there is no Service "shop/db"`, "GET", "/missing")
	p.expect(500, "no backend with a weight above 0", "GET", "/zero")
}

func TestRedirect(t *testing.T) {
	rule := func(path, filter string) string {
		return "  - matches: [{path: {value: " + path + "}}]\n    filters: [{type: RequestRedirect, requestRedirect: {" + filter + "}}]\n"
	}
	p := startPlane(t, nil, base, httpRoute("r", "  rules:\n"+
		rule("/scheme", "scheme: https")+
		rule("/host", "hostname: b.test, statusCode: 301")+
		rule("/port", "port: 8443, scheme: https")+
		rule("/own", "scheme: https, port: 443")+
		rule("/path", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 308")+
		rule("/full", "path: {type: ReplaceFullPath, replaceFullPath: /one}")))
	for _, c := range []struct {
		name, target, want string
		code               int
	}{
		{"scheme drops the port", "http://a.test:8080/scheme/x?q=1", "https://a.test/scheme/x?q=1", 302},
		{"host keeps the client's port", "http://a.test:8080/host", "http://b.test:8080/host", 301},
		{"port", "http://a.test/port", "https://a.test:8443/port", 302},
		{"the scheme's own port is left out", "http://a.test/own", "https://a.test/own", 302},
		{"prefix", "http://a.test/path/a%2Fb", "http://a.test/new/a%2Fb", 308},
		{"full path", "http://[::1]:8080/full/x", "http://[::1]:8080/one", 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := p.expect(c.code, "", "GET", c.target).Header.Get("Location"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", "  hostnames: [a.test]\n"+toWeb))
	p.expect(404, `no route for host "b.test" and path "/x"`, "GET", "http://b.test/x")
	p.expect(400, "send it without", "GET", "http://a.test/x/../y")
	p.expect(400, "send it without", "GET", "http://a.test/x/%2e%2E/y")
	p.expect(400, "send it without", "GET", "http://a.test/x%2f..%2Fy")
	for _, c := range []struct{ name, request, want string }{
		{"two lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", " 400 "},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", " 400 "},
		{"no host", "GET / HTTP/1.1\r\n\r\n", " 400 "},
		{"space before the colon", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 3\r\n\r\nabc", " 400 "},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n", " 501 "},
		{"options of the server", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", " 400 "},
		{"connect", "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", " 400 "},
		{"header too long", "GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", " 431 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, err := bufio.NewReader(p.raw(c.request)).ReadString('\n')
			if err != nil || !strings.Contains(line, c.want) {
				t.Errorf("got %q, %v, want %q", line, err, c.want)
			}
		})
	}
	t.Run("length beside chunks is not passed on", func(t *testing.T) {
		c := p.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode == 200 && (!strings.Contains(string(b), "body=abc te=[chunked]") || strings.Contains(string(b), "Content-Length")) {
			t.Errorf("the backend saw: %s", b)
		}
	})
}

func TestUpgrade(t *testing.T) {
	address := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		_, _ = io.Copy(c, rw)
	})
	p := startPlane(t, web(address), base, httpRoute("r", toWeb))
	c := p.raw("GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" {
		t.Fatalf("got %v, %v", res, err)
	}
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatal(err)
		}
		if got, err := in.ReadString('\n'); got != line {
			t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
	if s := p.gateway.Traffic()[0]; s.InFlight != 1 {
		t.Errorf("in flight during the conversation: %d, want 1", s.InFlight)
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	received := make(chan struct{})
	address := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-received // the next event only after the client has this one
		}
	})
	p := startPlane(t, web(address), base, httpRoute("r", toWeb))
	res, err := p.client.Get("http://" + p.address + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 3 {
		if line, err := in.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = in.ReadString('\n')
		received <- struct{}{}
	}
}

func TestH2C(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprint(w, r.Proto)
		w.Header().Set("Grpc-Status", "0")
	}))
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	p := startPlane(t, web(server.Listener.Addr().String()),
		strings.Replace(base, "port: 80}]}\n", "port: 80, appProtocol: kubernetes.io/h2c}]}\n", 1), httpRoute("r", toWeb))
	p.expect(200, "HTTP/2.0", "GET", "/")

	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	p.client.Transport.(*http.Transport).CloseIdleConnections()
	p.client.Transport = &http.Transport{Protocols: protocols}
	t.Cleanup(p.client.CloseIdleConnections)
	if res := p.expect(200, "HTTP/2.0", "GET", "/"); res.Proto != "HTTP/2.0" || res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("got %s with trailers %v", res.Proto, res.Trailer)
	}
}

func TestRefusedConnectionGoesToAnotherEndpoint(t *testing.T) {
	p := startPlane(t, web(closedAddress(t), closedAddress(t), backendServer(t, describe)), base, httpRoute("r", toWeb))
	for range 40 {
		res, body, err := p.do("POST", "/", strings.NewReader("hello"))
		if err != nil || res.StatusCode != 200 || !strings.Contains(body, "body=hello") {
			t.Fatalf("got %v %q, %v", res, body, err)
		}
	}
	if n := p.series("shop/web:80").retries.Load(); n == 0 {
		t.Error("no retry was counted")
	}
	p.set(closedAddress(t))
	p.expect(502, `Service "shop/web:80" did not answer`, "GET", "/")
}

// A backend that takes the request and breaks off may have acted on it.
func TestBrokenAnswerIsRepeatedOnlyWhereSafe(t *testing.T) {
	var seen atomic.Int64
	broken := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		panic(http.ErrAbortHandler)
	})
	p := startPlane(t, web(broken), base, httpRoute("r", toWeb))
	if p.expect(502, "did not answer", "POST", "/"); seen.Load() != 1 {
		t.Errorf("POST was sent %d times, want once", seen.Load())
	}
	p.set(broken, backendServer(t, describe))
	for range 20 {
		p.expect(200, "GET /", "GET", "/")
	}
}

func TestHoldUntilAnEndpointIsReady(t *testing.T) {
	p := startPlane(t, nil, base, httpRoute("r", toWeb))
	b := p.gateway.backendList()[0]
	const requests = 5
	results := make(chan string, requests)
	for range requests {
		go func() {
			_, body, err := p.do("POST", "/", strings.NewReader("held"))
			results <- fmt.Sprint(strings.Contains(body, "body=held"), err)
		}()
	}
	until(func() bool { return b.held.Load() == requests })
	p.set(backendServer(t, describe))
	for range requests {
		if got := <-results; got != "true <nil>" {
			t.Errorf("a held request ended with %s", got)
		}
	}
}

// A workload that goes to zero leaves pods that are listed as serving and answer no more.
func TestHoldWhenOnlyDeadPodsAreLeft(t *testing.T) {
	p := startPlane(t, nil, base, httpRoute("r", toWeb))
	b := p.gateway.backendList()[0]
	var gone []string
	for range maxAttempts + 1 {
		gone = append(gone, closedAddress(t))
	}
	b.update(addresses{draining: gone})
	result := make(chan string)
	go func() {
		_, body, err := p.do("POST", "/", strings.NewReader("held"))
		result <- fmt.Sprint(strings.Contains(body, "body=held"), err)
	}()
	until(func() bool { return b.held.Load() == 1 })
	b.update(addresses{draining: gone[1:]})
	b.update(addresses{ready: []string{backendServer(t, describe)}, draining: gone[1:]})
	if got := <-result; got != "true <nil>" {
		t.Errorf("the request ended with %s", got)
	}
}

func TestHoldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(BackendKey{}, newSharedPlane(nil, 0))
		results := make(chan *endpoint, maxHeld)
		for range maxHeld {
			go func() {
				e, _ := b.endpoint(t.Context(), nil)
				results <- e
			}()
		}
		synctest.Wait()
		if _, err := b.endpoint(t.Context(), nil); !errors.Is(err, errHoldFull) || b.held.Load() != maxHeld {
			t.Errorf("%d requests are held, want %d", b.held.Load(), maxHeld)
		}
		b.update(addresses{}) // no news
		for range maxHeld {
			if e := <-results; e != nil { // the fake clock reaches the end of the hold here
				t.Fatal("an endpoint came from nowhere")
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.endpoint(ctx, nil); !errors.Is(err, context.Canceled) || b.held.Load() != 0 {
			t.Error("a request that ended is still held")
		}
	})
}

func TestHoldBeforeTheFirstTable(t *testing.T) {
	p := newPlane(t)
	p.addresses["shop/web:80"] = addresses{ready: []string{backendServer(t, describe)}}
	result := make(chan string)
	go func() {
		_, body, err := p.do("GET", "/first", nil)
		result <- fmt.Sprint(strings.Contains(body, "GET /first"), err)
	}()
	p.install(base, httpRoute("r", toWeb))
	if got := <-result; got != "true <nil>" {
		t.Errorf("the request ended with %s", got)
	}
}

func TestTimeouts(t *testing.T) {
	ended := make(chan error, 1)
	slow := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	for _, kind := range []string{"request", "backendRequest"} {
		t.Run(kind, func(t *testing.T) {
			p := startPlane(t, web(slow), base,
				httpRoute("r", "  rules: [{timeouts: {"+kind+": 20ms}, backendRefs: [{name: web, port: 80}]}]\n"))
			p.expect(504, "timeouts."+kind, "GET", "/")
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the backend's request ended with %v", err)
			}
		})
	}
}

func TestClientThatLeavesEndsTheRequest(t *testing.T) {
	arrived, ended := make(chan struct{}), make(chan struct{})
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})), base, httpRoute("r", toWeb))
	c := p.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	<-arrived
	c.Close()
	<-ended
	s := p.series("shop/web:80")
	until(func() bool { return s.classes[0].Load() == 1 && s.inFlight.Load() == 0 })
}

func TestWeights(t *testing.T) {
	r := rule{targets: []target{{weight: 3}, {weight: 1}}, totalWeight: 4}
	got := 0
	for range 10_000 {
		if r.choose() == &r.targets[0] {
			got++
		}
	}
	if got < 7000 || got > 8000 { // over ten standard deviations
		t.Errorf("got %d of 10,000 at weights 3:1", got)
	}
}

func TestLeastLoaded(t *testing.T) {
	b := newBackend(BackendKey{}, newSharedPlane(nil, 0))
	b.update(addresses{ready: []string{"a", "b"}, draining: []string{"c"}})
	set := b.set.Load()
	set.ready[0].inFlight.Store(1)
	for range 20 {
		if e := set.choose(nil); e.address != "b" {
			t.Fatalf("got %q, want the endpoint with fewer requests", e.address)
		}
	}
	if e := set.choose(set.ready); e == nil || e.address != "c" {
		t.Error("the draining endpoint is not used when no other is left")
	}
	kept := set.ready[1]
	b.update(addresses{ready: []string{"b", "d"}})
	if b.set.Load().ready[0] != kept {
		t.Error("an endpoint that stays lost its connections and counts")
	}
}

func TestSignalsAndMetrics(t *testing.T) {
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	})), base, httpRoute("r", toWeb))
	if s := p.gateway.Traffic(); len(s) != 1 || s[0].Requests != 0 || !s[0].LastSuccess.IsZero() {
		t.Errorf("before any request: %+v", s)
	}
	settled := func(requests uint64) signal.Traffic {
		t.Helper()
		var s signal.Traffic
		until(func() bool { s = p.gateway.Traffic()[0]; return s.Requests == requests && s.InFlight == 0 })
		return s
	}
	p.expect(500, "", "GET", "/bad")
	if s := settled(1); !s.LastSuccess.IsZero() {
		t.Errorf("an answer of 500 counts as success: %+v", s)
	}
	p.expect(200, "", "GET", "/")
	if s := settled(2); s.LastSuccess.IsZero() || s.Service.String() != "shop/web" || s.Port != 80 {
		t.Errorf("got %+v", s)
	}
	p.install(base, httpRoute("r", toWeb), httpRoute("other", "  hostnames: [o.test]\n"+toWeb))
	settled(2) // counts survive a new table
	p.expect(400, "", "GET", "/..")

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(p.gateway.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"escale_gateway_requests_total shop/web:80 2xx shop/r": 1,
		"escale_gateway_requests_total shop/web:80 5xx shop/r": 1,
		"escale_gateway_requests_total  4xx ":                  1,
		"escale_gateway_response_seconds shop/web:80 shop/r":   2,
		"escale_gateway_endpoints shop/web:80 ready":           1,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v in %v", name, got[name], want, got)
		}
	}
}

// load is clients that send requests without a pause and report each that is not answered 200.
type load struct {
	plane   *plane
	methods []string
	stopped atomic.Bool
	clients sync.WaitGroup
	counts  [8]atomic.Int64
}

func (p *plane) load(methods ...string) *load {
	l := &load{plane: p, methods: methods}
	for i := range l.counts {
		l.clients.Go(func() {
			for !l.stopped.Load() {
				l.request(methods[int(l.counts[i].Add(1))%len(methods)])
			}
		})
	}
	return l
}

func (l *load) request(method string) {
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader("payload")
	}
	res, text, err := l.plane.do(method, "/", body)
	if err != nil || res.StatusCode != 200 {
		l.plane.t.Errorf("%s lost: %v %q %v", method, res, text, err)
	}
}

// settle returns when no request is under way that was there before.
func (l *load) settle() {
	for i := range l.counts {
		before := l.counts[i].Load()
		until(func() bool { return l.counts[i].Load() > before })
	}
}

func (l *load) stop() {
	l.stopped.Store(true)
	l.clients.Wait()
}

// Two rollings, as clusters do them: the endpoint leaves the set, and the server stops once its requests are done; and
// a server that stops while it is still in the set, which repeatable requests must survive.
func TestNothingIsLostWhileEndpointsRoll(t *testing.T) {
	for _, c := range []struct {
		name       string
		leaveFirst bool
		methods    []string
	}{
		{"the endpoint leaves first", true, []string{"GET", "POST"}},
		{"the server stops first", false, []string{"GET"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := func() *httptest.Server { return httptest.NewServer(http.HandlerFunc(describe)) }
			old, kept := start(), start()
			p := startPlane(t, web(old.Listener.Addr().String(), kept.Listener.Addr().String()), base, httpRoute("r", toWeb))
			clients := p.load(c.methods...)
			for range 15 {
				next := start()
				if !c.leaveFirst {
					_ = old.Config.Shutdown(context.Background())
				}
				p.set(kept.Listener.Addr().String(), next.Listener.Addr().String())
				clients.settle()
				old.Close()
				old, kept = kept, next
			}
			clients.stop()
			old.Close()
			kept.Close()
		})
	}
}

func TestNothingIsLostWhileRoutesChange(t *testing.T) {
	p := startPlane(t, nil, base)
	p.addresses["shop/web:80"] = addresses{ready: []string{backendServer(t, describe)}}
	p.addresses["shop/web:81"] = addresses{ready: []string{backendServer(t, describe)}}
	twoPorts := strings.Replace(base, "port: 80}]}\n", "port: 80}, {name: alt, port: 81}]}\n", 1)
	change := func(i int) {
		p.install(twoPorts, httpRoute("r", strings.Replace(toWeb, "port: 80", fmt.Sprint("port: ", 80+i%2), 1)),
			httpRoute(fmt.Sprint("other", i), "  hostnames: [o.test]\n"+toWeb))
	}
	change(0)
	clients := p.load("GET", "POST")
	for i := range 20 {
		change(i)
		clients.settle()
	}
	clients.stop()
}

func TestStopLetsRequestsFinish(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	address := backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "finished")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(l, slog.New(slog.DiscardHandler), newSharedPlane(nil, 0))
	table, _ := compile(facts(t, base, httpRoute("r", toWeb)))
	if err := g.install(table, func(BackendKey) (addresses, error) { return addresses{ready: []string{address}}, nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped, answered := make(chan error, 1), make(chan string, 1)
	go func() { stopped <- g.Start(ctx) }()
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answered <- string(b)
	}()
	<-arrived
	cancel()
	until(func() bool { // the listener is closed first
		c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answered; got != "finished" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
