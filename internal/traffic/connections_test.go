package traffic

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// throughNetHTTP is a route that the raw path does not serve.
const throughNetHTTP = "  rules: [{filters: [{type: URLRewrite, urlRewrite: {hostname: a.test}}], backendRefs: [{name: web, port: 80}]}]\n"

func TestBodyDeadline(t *testing.T) {
	started := time.Unix(1000, 0)
	for _, c := range []struct {
		name     string
		received int64
		want     time.Duration
	}{
		{"nothing yet", 0, 30 * time.Second},
		{"a second for 500 bytes", 500, 31 * time.Second},
		{"a megabyte", 1 << 20, 30*time.Second + (1<<20)*time.Second/500},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bodyDeadline(started, slowBodyGrace, c.received).Sub(started); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// drip is a body that sends a byte at a time until a deadline passes.
type drip struct {
	every time.Duration
	until time.Time
}

func (d *drip) Read(p []byte) (int, error) {
	time.Sleep(d.every) // the bubble's clock
	if !d.until.IsZero() && time.Now().After(d.until) {
		return 0, os.ErrDeadlineExceeded
	}
	return copy(p, "x"), nil
}

func (d *drip) Close() error { return nil }

func TestSlowBodies(t *testing.T) {
	for _, c := range []struct {
		name      string
		every     time.Duration
		known     bool
		least, at time.Duration // when it ends
	}{
		{"one byte per second of a body of known length", time.Second, true, 30 * time.Second, 31 * time.Second},
		{"chunks with short pauses go on", 50 * time.Second, false, time.Hour, 0},
		{"chunks with a long pause", 70 * time.Second, false, 70 * time.Second, 70 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := time.Now()
				d := &drip{every: c.every}
				b := body{ReadCloser: d}
				b.pace.until = func(u time.Time) error { d.until = u; return nil }
				b.pace.started, b.pace.grace, b.pace.known = started, slowBodyGrace, c.known
				var err error
				for err == nil && time.Since(started) < time.Hour {
					_, err = b.Read(make([]byte, 1))
				}
				took := time.Since(started)
				if c.at != 0 && !errors.Is(err, errBodyTooSlow) || took < c.least || c.at != 0 && took > c.at {
					t.Errorf("ended with %v after %v, want at %v", err, took, c.at)
				}
			})
		})
	}
}

func TestSlowBodyIsAnswered(t *testing.T) {
	p := newPlane(t)
	p.gateway.shared.bodyGrace = 20 * time.Millisecond
	p.addresses["shop/web:80"] = addresses{ready: []string{backendServer(t, describe)}}
	p.install(base, httpRoute("r", throughNetHTTP))
	c := p.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("got %v, %v, want 408", res, err)
	}
	until(func() bool { return p.metric("errors_total", "request too slow") == 1 })
	if n := p.metric("attempt_errors_total"); n != 0 {
		t.Errorf("the pod is blamed: %v", n)
	}
}

func TestHeaderMustComeInTime(t *testing.T) {
	p := newPlane(t)
	if s := p.gateway.newServer(p.gateway); s.ReadHeaderTimeout != 10*time.Second || s.IdleTimeout != 2*time.Minute {
		t.Errorf("got %v and %v", s.ReadHeaderTimeout, s.IdleTimeout)
	}
}

// A pod is not blamed for what a client does.
func TestMalformedBodyIsTheClientsFault(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", throughNetHTTP))
	c := p.raw("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
	if half, ok := c.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c)
	until(func() bool {
		return p.metric("errors_total", "client gone")+p.metric("errors_total", "bad request") == 1
	})
	c = p.raw("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 400 {
		t.Errorf("got %v, %v, want 400", res, err)
	}
	if n := p.metric("attempt_errors_total"); n != 0 {
		t.Errorf("the pod is blamed: %v", n)
	}
}

// RFC 9112 section 6.1: what follows a request with two lengths must not be read as another request.
func TestNothingFollowsAnAmbiguousRequest(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", throughNetHTTP))
	for _, c := range []struct{ name, request string }{
		{"length beside chunks", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := p.raw(c.request + "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")
			all, _ := io.ReadAll(in)
			if strings.Contains(string(all), "/smuggled") || strings.Count(string(all), "HTTP/1.") > 1+strings.Count(string(all), "te=") {
				t.Errorf("got %q", all)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", throughNetHTTP))
	p.gateway.connections.limit.Store(3)
	const request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	answered := func(c net.Conn) bool {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == 200
	}
	open := func(n int) {
		until(func() bool { o, rest := p.gateway.connections.count(); return o == n && rest == n })
	}
	var conns []net.Conn
	for i := range 3 {
		c := p.raw(request)
		if !answered(c) {
			t.Fatal("no answer")
		}
		conns = append(conns, c)
		open(i + 1)
	}
	// The first has rested for longest; the fourth takes its place.
	if !answered(p.raw(request)) {
		t.Error("a new connection is not served")
	}
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection that rested for longest: got %v, want it closed", err)
	}
	if _, err := io.WriteString(conns[2], request); err != nil || !answered(conns[2]) {
		t.Errorf("another connection was closed: %v", err)
	}
	if p.metric("connections_turned_away_total", "idle") != 1 {
		t.Error("the closed connection is not counted")
	}
}

func TestConnectionsInUseStay(t *testing.T) {
	c := newConnections()
	c.limit.Store(2)
	for range 2 {
		if !c.admit(&clientConn{}) { // never resting
			t.Fatal("refused below the limit")
		}
	}
	if c.admit(&clientConn{}) || c.refused.Load() != 1 {
		t.Error("a connection too many was taken")
	}
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	var deadlines []time.Time
	c := &clientConn{Conn: deadlineConn{Conn: nil, set: func(d time.Time) { deadlines = append(deadlines, d) }}}
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			_, _ = c.Write(nil)
		}
		if len(deadlines) != 1 || time.Until(deadlines[0]) != 2*writeStall {
			t.Errorf("got %v", deadlines)
		}
		time.Sleep(writeStall + time.Second) // the bubble's clock
		if _, _ = c.Write(nil); len(deadlines) != 2 {
			t.Error("the deadline was not moved on")
		}
		_ = c.SetDeadline(time.Time{})
		if _, _ = c.Write(nil); len(deadlines) != 4 {
			t.Error("a deadline that others removed was not set again")
		}
	})
}

// deadlineConn tells of the deadlines that are set.
type deadlineConn struct {
	net.Conn
	set func(time.Time)
}

func (d deadlineConn) Write(b []byte) (int, error)        { return len(b), nil }
func (d deadlineConn) SetWriteDeadline(t time.Time) error { d.set(t); return nil }
func (d deadlineConn) SetDeadline(t time.Time) error      { d.set(t); return nil }
