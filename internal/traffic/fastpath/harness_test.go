package fastpath

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds what a test waits for; nothing waits for it in a run that passes.
const patience = 10 * time.Second

// stage is a server of this path with a backend and a reference path in the test's hands.
type stage struct {
	t       *testing.T
	server  *Server
	router  *fixedRouter
	address string
	backend net.Listener
	// reference gets the bodies of the requests that the reference path answered, after "METHOD path ".
	reference chan string
}

// fixedRouter sends everything to one upstream.
type fixedRouter struct {
	upstream                *Upstream
	timeout, backendTimeout time.Duration
	change                  *HeaderChange
	way                     func(*Request) Way
	repeat                  atomic.Bool
	stall                   time.Duration

	begun, answered atomic.Int64
	done            chan Outcome
	dials           atomic.Int64
}

func (f *fixedRouter) Route(r *Request, x *Exchange) Way {
	if f.way != nil {
		if w := f.way(r); w != Forward {
			return w
		}
	}
	x.Upstream, x.Timeout, x.BackendTimeout = f.upstream, f.timeout, f.backendTimeout
	x.Request, x.Response = f.change, f.change
	f.begun.Add(1)
	return Forward
}

func (f *fixedRouter) Dialled(*Exchange, time.Duration, error) { f.dials.Add(1) }

func (f *fixedRouter) Answered(*Exchange, int, time.Time) { f.answered.Add(1) }

func (f *fixedRouter) Repeat(*Exchange, error, time.Time) bool { return f.repeat.Load() }

func (f *fixedRouter) Explain(_ *Exchange, reason Reason, err error) (int, string) {
	switch reason {
	case RequestTimeout, BackendTimeout:
		return http.StatusGatewayTimeout, "too slow"
	case ClientGone:
		return 499, "gone"
	}
	return http.StatusBadGateway, fmt.Sprint("failed: ", err)
}

func (f *fixedRouter) Done(_ *Exchange, o Outcome) { f.done <- o }

// start serves; the backend's connections are served by handle, each on its own goroutine.
func start(t *testing.T, configure func(*fixedRouter), handle func(net.Conn, *bufio.Reader)) *stage {
	t.Helper()
	s := &stage{t: t, backend: listen(t), reference: make(chan string, 64)}
	upstream, err := NewUpstream(s.backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.router = &fixedRouter{upstream: upstream, done: make(chan Outcome, 1<<16), stall: WriteStall}
	if configure != nil {
		configure(s.router)
	}
	go accept(s.backend, handle)
	front := listen(t)
	s.address = front.Addr().String()
	if s.server, err = listenFor(front.(*net.TCPListener), s.router, 2, s.router.stall); err != nil {
		t.Fatal(err)
	}
	reference := &http.Server{ConnState: ConnState, Handler: http.HandlerFunc(s.serveReference)}
	served := make(chan error, 1)
	go func() { served <- reference.Serve(s.server) }()
	t.Cleanup(func() {
		_ = s.backend.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = reference.Close()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("the reference path stopped with: %v", err)
		}
	})
	return s
}

func (s *stage) serveReference(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.reference <- fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body)
	w.Header().Set("Reference", "yes")
	_, _ = io.WriteString(w, "reference")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func accept(l net.Listener, handle func(net.Conn, *bufio.Reader)) {
	var open sync.WaitGroup
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer c.Close()
			handle(c, bufio.NewReader(c))
		})
	}
}

// echo answers every request with its own head and body.
func echo(c net.Conn, r *bufio.Reader) {
	for {
		text, err := readRequest(r)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			return
		}
	}
}

// readRequest reads a request as bytes.
func readRequest(r *bufio.Reader) (string, error) {
	var head bytes.Buffer
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head.String())))
	if err != nil {
		return "", err
	}
	body := make([]byte, max(parsed.ContentLength, 0))
	_, err = io.ReadFull(r, body)
	return head.String() + string(body), err
}

// answerOnce answers the first request of each connection with fixed bytes, then closes.
func answerOnce(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r); err == nil {
			_, _ = io.WriteString(c, text)
		}
	}
}

// dial opens a connection to the front.
func (s *stage) dial() (*net.TCPConn, *bufio.Reader) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	s.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn), bufio.NewReader(c)
}

// send writes bytes on a new connection and returns all that comes until the server closes.
func (s *stage) send(text string) string {
	s.t.Helper()
	c, r := s.dial()
	s.write(c, text)
	all, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatalf("reading the answer after %q: %v", all, err)
	}
	return string(all)
}

func (s *stage) write(c net.Conn, text string) {
	s.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatalf("sending: %v", err)
	}
}

// read reads one answer.
func (s *stage) read(r *bufio.Reader, method string) (*http.Response, string) {
	s.t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("reading an answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("reading the body of an answer: %v", err)
	}
	return res, string(body)
}

func (s *stage) outcome() Outcome {
	s.t.Helper()
	select {
	case o := <-s.router.done:
		return o
	case <-time.After(patience):
		s.t.Fatal("no exchange ended")
		return Outcome{}
	}
}

func (s *stage) referred() string {
	s.t.Helper()
	select {
	case text := <-s.reference:
		return text
	case <-time.After(patience):
		s.t.Fatal("the reference path got no request")
		return ""
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
