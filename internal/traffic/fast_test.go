package traffic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rawBackend is a backend that keeps the bytes of each request and answers with fixed bytes.
type rawBackend struct {
	address string
	mu      sync.Mutex
	seen    []string
	answer  string
}

func newRawBackend(t testing.TB, answer string) *rawBackend {
	t.Helper()
	l := loopback(t)
	r := &rawBackend{address: l.Addr().String(), answer: answer}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	return r
}

func (r *rawBackend) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		text, err := readRawRequest(in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return // broken off: no backend acts on it
		}
		if err != nil {
			text = fmt.Sprintf("MALFORMED %v\r\n\r\n%s", err, text)
		}
		r.mu.Lock()
		r.seen = append(r.seen, text)
		r.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, r.answer); err != nil {
			return
		}
	}
}

// take returns what came since the last call.
func (r *rawBackend) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// readRawRequest reads one request as strictly as can be: what is not plain is an error, and returned as it came.
func readRawRequest(in *bufio.Reader) (string, error) {
	var text bytes.Buffer
	header := textproto.MIMEHeader{}
	for first := true; ; first = false {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			return text.String(), err
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok || strings.ContainsAny(line, "\r\x00") {
			return text.String(), fmt.Errorf("line %q", line)
		}
		if line == "" {
			break
		}
		if first {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") {
			return text.String(), fmt.Errorf("field %q", line)
		}
		header.Add(name, strings.Trim(value, " \t"))
	}
	lengths, encodings := header["Content-Length"], header["Transfer-Encoding"]
	switch {
	case len(lengths) > 0 && len(encodings) > 0, len(lengths) > 1, len(encodings) > 1:
		return text.String(), fmt.Errorf("ambiguous framing")
	case len(encodings) == 1:
		return readRawChunks(in, &text)
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62) // digits only, by its definition
		if err != nil {
			return text.String(), fmt.Errorf("length %q", lengths[0])
		}
		_, err = io.CopyN(&text, in, int64(n))
		return text.String(), err
	}
	return text.String(), nil
}

// readRawChunks appends the decoded body: proxies may cut chunks as they like.
func readRawChunks(in *bufio.Reader, text *bytes.Buffer) (string, error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return text.String(), err
		}
		n := int64(0)
		if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
			return text.String(), fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			return text.String(), skipTrailer(in)
		}
		if _, err := io.CopyN(text, in, n); err != nil {
			return text.String(), err
		}
		if end, err := in.ReadString('\n'); err != nil || end != "\r\n" {
			return text.String(), fmt.Errorf("end of a chunk %q: %w", end, err)
		}
	}
}

func skipTrailer(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err
		}
		if !strings.HasSuffix(line, "\r\n") {
			return fmt.Errorf("line %q of a trailer", line)
		}
	}
}

// normal is a message with its header fields in canonical case and order, without Date.
func normal(message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	fields := lines[1:]
	for i, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		fields[i] = http.CanonicalHeaderKey(name) + ": " + strings.TrimSpace(value)
	}
	fields = slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "Date: ") })
	slices.Sort(fields)
	return lines[0] + "\n" + strings.Join(fields, "\n") + "\n\n" + body
}

// exchangeRaw sends bytes that ask for the connection to be closed and returns all that comes.
func (p *plane) exchangeRaw(text string) string {
	p.t.Helper()
	c := p.raw(text)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	all, err := io.ReadAll(c)
	if err != nil {
		p.t.Fatalf("after %q: %v", all, err)
	}
	return string(all)
}

// TestBothPathsDoTheSame sends the same requests over the raw path and over the one on net/http.
func TestBothPathsDoTheSame(t *testing.T) {
	const (
		ok      = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\nContent-Type: text/plain\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\nok"
		head    = "Host: shop.example:8080\r\nUser-Agent: test\r\nConnection: close\r\n"
		filters = `  rules:
  - backendRefs: [{name: web, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: backend}], add: [{name: X-Add, value: two}]}}]}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Gone], set: [{name: X-Set, value: rule}], add: [{name: X-Add, value: one}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-Old], set: [{name: X-New, value: "2"}]}}
`
		matches = `  rules:
  - {matches: [{path: {value: /a}, method: POST, headers: [{name: x-kind, value: big}], queryParams: [{name: q, value: "1"}]}], backendRefs: [{name: web, port: 80}]}
`
	)
	for _, c := range []struct{ name, rules, request, answer string }{
		{"plain", toWeb, "GET /a/b?c=d HTTP/1.1\r\n" + head + "Accept: */*\r\n\r\n", ok},
		{"empty query", toWeb, "GET /? HTTP/1.1\r\n" + head + "\r\n", ok},
		{"odd query", toWeb, "GET /?a=<b>&{c}|\"d\"%zz HTTP/1.1\r\n" + head + "\r\n", ok},
		{"sub-delimiters in the path", toWeb, "GET /a;b=c,d@e:f/(g)[h]~!$&'*+= HTTP/1.1\r\n" + head + "\r\n", ok},
		{"empty segments", toWeb, "GET //a//b HTTP/1.1\r\n" + head + "\r\n", ok},
		{"body", toWeb, "POST / HTTP/1.1\r\n" + head + "Content-Length: 3\r\n\r\nabc", ok},
		{"body of a GET", toWeb, "GET / HTTP/1.1\r\n" + head + "Content-Length: 3\r\n\r\nabc", ok},
		{"empty body", toWeb, "POST / HTTP/1.1\r\n" + head + "Content-Length: 0\r\n\r\n", ok},
		{"no body where one is usual", toWeb, "PUT / HTTP/1.1\r\n" + head + "\r\n", ok},
		{"length 0 of a GET", toWeb, "GET / HTTP/1.1\r\n" + head + "Content-Length: 0\r\n\r\n", ok},
		{"no user agent", toWeb, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", ok},
		{"spoofed addresses", toWeb, "GET / HTTP/1.1\r\n" + head + "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: evil\r\nx-forwarded-proto: https\r\nForwarded: for=9.9.9.9\r\n\r\n", ok},
		{"hop-by-hop", toWeb, "GET / HTTP/1.1\r\n" + head + "Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\n\r\n", ok},
		{"repeated fields", toWeb, "GET / HTTP/1.1\r\n" + head + "A: 1\r\nB: 2\r\na: 3\r\n\r\n", ok},
		{"cookies", toWeb, "GET / HTTP/1.1\r\n" + head + "Cookie: a=b; c=d\r\n\r\n", ok},
		{"private cookie", toWeb, "GET / HTTP/1.1\r\n" + head + "Cookie: a=b; private=1; c=d\r\n\r\n", ok},
		{"HEAD", toWeb, "HEAD / HTTP/1.1\r\n" + head + "\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"},
		{"no content", toWeb, "GET / HTTP/1.1\r\n" + head + "\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"not modified", toWeb, "GET / HTTP/1.1\r\n" + head + "\r\n", "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
		{"server error", toWeb, "GET / HTTP/1.1\r\n" + head + "\r\n", "HTTP/1.1 500 Internal Server Error\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n"},
		{"answer with connection fields", toWeb, "GET / HTTP/1.1\r\n" + head + "\r\n", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"},
		{"header filters", filters, "GET / HTTP/1.1\r\n" + head + "X-Gone: 1\r\nX-Set: client\r\nX-Add: zero\r\n\r\n", ok},
		{"matches", matches, "POST /a/b?q=1 HTTP/1.1\r\n" + head + "X-Kind: big\r\nContent-Length: 0\r\n\r\n", ok},
		{"matches not: header", matches, "POST /a?q=1 HTTP/1.1\r\n" + head + "X-Kind: small\r\nContent-Length: 0\r\n\r\n", ok},
		{"matches not: query", matches, "POST /a?q=2 HTTP/1.1\r\n" + head + "X-Kind: big\r\nContent-Length: 0\r\n\r\n", ok},
		{"matches not: path", matches, "POST /ab?q=1 HTTP/1.1\r\n" + head + "X-Kind: big\r\nContent-Length: 0\r\n\r\n", ok},
		{"answer that is none", toWeb, "POST / HTTP/1.1\r\n" + head + "Content-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests, answers [2]string
			for i, l := range []net.Listener{loopback(t), struct{ net.Listener }{loopback(t)}} {
				backend := newRawBackend(t, c.answer)
				p := newPlaneOn(t, l)
				p.gateway.privateCookie = "private"
				p.addresses["shop/web:80"] = addresses{ready: []string{backend.address}}
				p.install(base, httpRoute("r", c.rules))
				answers[i] = normal(p.exchangeRaw(c.request))
				requests[i] = normal(strings.Join(backend.take(), "\n--\n"))
			}
			if requests[0] != requests[1] {
				t.Errorf("the backend got on the raw path\n%s\non the other\n%s", requests[0], requests[1])
			}
			if c.name == "answer that is none" { // the reasons have other words
				answers[0], answers[1] = answers[0][:12], answers[1][:12]
			}
			if answers[0] != answers[1] {
				t.Errorf("the client got on the raw path\n%s\non the other\n%s", answers[0], answers[1])
			}
		})
	}
}

// TestRawPathIsTaken sees that plain requests do not go over net/http, and that their accounts are kept.
func TestRawPathIsTaken(t *testing.T) {
	backend := newRawBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	p := startPlane(t, web(backend.address), base, httpRoute("r", toWeb))
	for range 3 {
		p.expect(200, "ok", "GET", "/")
	}
	for _, text := range backend.take() {
		if !strings.HasPrefix(text, "GET / HTTP/1.1\r\nHost: ") || !strings.HasSuffix(text, "X-Forwarded-Proto: http\r\n\r\n") {
			t.Errorf("a request went another way: %q", text)
		}
	}
	b := p.gateway.backendList()[0]
	until(func() bool { return b.counts.inFlight.Load() == 0 })
	traffic := p.gateway.Traffic()
	if len(traffic) != 1 || traffic[0].Requests != 3 || traffic[0].LastSuccess.IsZero() {
		t.Errorf("the account is %+v", traffic)
	}
	if e := b.set.Load().ready[0]; e.inFlight.Load() != 0 || !e.answered.Load() {
		t.Error("the endpoint's account is wrong")
	}
}

func TestRulesTheRawPathDoesNotServe(t *testing.T) {
	fresh := func() *rule {
		return &rule{route: "a/b", totalWeight: 1, targets: []target{{weight: 1, action: &action{}}}, action: &action{}}
	}
	if newRawRule(fresh()) == nil {
		t.Fatal("a plain rule is not served")
	}
	for name, change := range map[string]func(*rule){
		"fails":            func(r *rule) { r.fail = "no" },
		"redirects":        func(r *rule) { r.redirect = &redirect{} },
		"no weight":        func(r *rule) { r.totalWeight = 0 },
		"rewrites path":    func(r *rule) { r.request.path = pathModifier{kind: replaceFull} },
		"rewrites host":    func(r *rule) { r.request.host = "h" },
		"target fails":     func(r *rule) { r.targets[0].fail = "no" },
		"sets the host":    func(r *rule) { r.request.headers.set = []pair{{"Host", "h"}} },
		"drops the length": func(r *rule) { r.response.remove = []string{"Content-Length"} },
	} {
		r := fresh()
		if change(r); newRawRule(r) != nil {
			t.Errorf("a rule that %s is served", name)
		}
	}
}
