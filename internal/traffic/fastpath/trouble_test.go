package fastpath

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestWhatIsNotPlainGoesToTheReferencePath(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"chunked request", "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST /a abc"},
		{"HTTP/1.0", "GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "GET /a "},
		{"escaped path", "GET /a%20b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET /a%20b "},
		{"expectation", "PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", "PUT /a x"},
		{"upgrade", "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: close\r\n\r\n", "GET /a "},
		{"long head", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nA: " + strings.Repeat("x", maxHead) + "\r\n\r\n", "GET /a "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, nil, echo)
			if got := s.send(c.text); !strings.Contains(got, "Reference: yes") {
				t.Errorf("the client got %q", got)
			}
			equal(t, "request", s.referred(), c.want)
			equal(t, "requests here", s.router.begun.Load(), int64(0))
		})
	}
}

func TestSlowHeadGoesToTheReferencePath(t *testing.T) {
	s := start(t, nil, echo)
	c, r := s.dial()
	_ = c.SetNoDelay(true)
	text := "GET /slow HTTP/1.1\r\nHost: h\r\nX-Long: 0123456789\r\n\r\n"
	for i := range text {
		s.write(c, text[i:i+1])
	}
	res, _ := s.read(r, "GET")
	equal(t, "code", res.StatusCode, 200)
}

// TestLentConnectionComesBack mixes requests for both paths on one connection, pipelined and not.
func TestLentConnectionComesBack(t *testing.T) {
	lendPosts := func(r *fixedRouter) {
		r.way = func(r *Request) Way {
			if string(r.Method) == "POST" {
				return Lend
			}
			return Forward
		}
	}
	s := start(t, lendPosts, echo)
	c, r := s.dial()
	const get, post = "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
	for round := range 5 {
		s.write(c, get)
		if _, body := s.read(r, "GET"); !strings.HasPrefix(body, "GET /") {
			t.Fatalf("round %d: GET was answered %q", round, body)
		}
		s.write(c, post[:len(post)-2])
		s.write(c, post[len(post)-2:]+get+post+get)
		for _, want := range []string{"reference", "GET /", "reference", "GET /"} {
			if _, body := s.read(r, "GET"); !strings.HasPrefix(body, want) {
				t.Fatalf("round %d: got %q, want %q", round, body, want)
			}
		}
		equal(t, "request", s.referred(), "POST /p abc")
		equal(t, "request", s.referred(), "POST /p abc")
	}
	equal(t, "requests here", s.router.begun.Load(), int64(15))
}

func TestRefusedConnectionLendsTheRequest(t *testing.T) {
	s := start(t, nil, echo)
	_ = s.backend.Close()
	c, r := s.dial()
	for range 3 {
		s.write(c, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
		_, body := s.read(r, "POST")
		equal(t, "answer", body, "reference")
		equal(t, "request", s.referred(), "POST /p abc")
		equal(t, "lent", s.outcome().Lent, true)
	}
}

// hangUp answers the first request of a connection and closes when the second is there.
func hangUp(c net.Conn, r *bufio.Reader) {
	if _, err := readRequest(r); err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	_, _ = readRequest(r)
}

func TestConnectionThatWasClosedWhenUsed(t *testing.T) {
	for _, c := range []struct {
		method string
		repeat bool
		code   int
	}{{"GET", true, 200}, {"POST", true, 502}, {"GET", false, 502}} {
		t.Run(fmt.Sprint(c.method, " ", c.repeat), func(t *testing.T) {
			s := start(t, func(r *fixedRouter) { r.repeat.Store(c.repeat) }, hangUp)
			conn, r := s.dial()
			s.write(conn, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
			s.read(r, "GET")
			s.write(conn, c.method+" /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
			res, _ := s.read(r, c.method)
			equal(t, "code", res.StatusCode, c.code)
			equal(t, "connections", s.router.dials.Load(), int64(1))
		})
	}
}

func TestIdleConnectionThatClosesIsNotUsed(t *testing.T) {
	closed := make(chan struct{}, 8)
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, r) // until the other side closes too
			closed <- struct{}{}
		}
	})
	c, r := s.dial()
	for range 3 {
		s.write(c, "POST / HTTP/1.1\r\nHost: h\r\n\r\n")
		res, _ := s.read(r, "POST")
		equal(t, "code", res.StatusCode, 200)
		<-closed
	}
}

func TestTimeouts(t *testing.T) {
	hang := func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	for name, c := range map[string]struct {
		configure func(*fixedRouter)
		reason    Reason
	}{
		"request": {func(r *fixedRouter) { r.timeout, r.backendTimeout = 20*time.Millisecond, time.Hour }, RequestTimeout},
		"backend": {func(r *fixedRouter) { r.timeout, r.backendTimeout = time.Hour, 20*time.Millisecond }, BackendTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, c.configure, hang)
			conn, r := s.dial()
			s.write(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			res, body := s.read(r, "GET")
			equal(t, "code", res.StatusCode, 504)
			equal(t, "text", body, "too slow\n")
			equal(t, "reason", s.outcome().Reason, c.reason)
		})
	}
}

func TestClientThatLeaves(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closes":      func(c *net.TCPConn) error { return c.Close() },
		"half-closes": func(c *net.TCPConn) error { return c.CloseWrite() },
		"resets":      func(c *net.TCPConn) error { return c.SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			got, left := make(chan struct{}), make(chan struct{})
			s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
				if _, err := readRequest(r); err == nil {
					close(got)
					_, _ = io.Copy(io.Discard, r)
					close(left)
				}
			})
			c, _ := s.dial()
			s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			<-got
			if err := leave(c); err != nil {
				t.Fatal(err)
			}
			if name == "resets" {
				_ = c.Close()
			}
			equal(t, "reason", s.outcome().Reason, ClientGone)
			<-left // the backend's connection was closed: the work may stop
		})
	}
}

// TestHalfClosedClientIsServedWhatItPipelined sends all requests and the end at once.
func TestHalfClosedClientIsServedWhatItPipelined(t *testing.T) {
	s := start(t, nil, echo)
	c, r := s.dial()
	s.write(c, strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 3))
	_ = c.CloseWrite()
	for range 2 {
		res, _ := s.read(r, "GET")
		equal(t, "code", res.StatusCode, 200)
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	got, goOn := make(chan struct{}), make(chan struct{})
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r); err == nil {
			close(got)
			<-goOn
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	idle, idleReader := s.dial()
	busy, busyReader := s.dial()
	_ = idle
	s.write(busy, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-got
	stopped := make(chan error, 1)
	go func() { stopped <- s.server.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ended with %v", err)
	}
	close(goOn)
	_, body := s.read(busyReader, "GET")
	equal(t, "answer", body, "ok")
	if _, err := busyReader.ReadByte(); err != io.EOF {
		t.Errorf("the busy connection ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	got := make(chan struct{})
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r); err == nil {
			close(got)
			_, _ = io.Copy(io.Discard, r)
		}
	})
	c, r := s.dial()
	s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-got
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.server.Shutdown(over); err == nil {
		t.Error("nothing was cut off")
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the client got an answer")
	}
}

func TestCloseIdle(t *testing.T) {
	closed := make(chan struct{})
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		echo(c, r)
		close(closed)
	})
	c, r := s.dial()
	s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	s.read(r, "GET")
	s.router.upstream.CloseIdle()
	<-closed
}
