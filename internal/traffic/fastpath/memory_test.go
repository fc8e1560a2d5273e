package fastpath

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestIdleConnectionsAreSmall keeps many connections that were used once.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const connections, each = 2000, 2 << 10
	s := start(t, nil, echo)
	use := func() {
		c, r := s.dial()
		s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		s.read(r, "GET")
	}
	use()
	client := clientMemory(t, connections)
	before := heap()
	for range connections {
		use()
	}
	if grown := (heap() - before - client) / connections; grown > each {
		t.Errorf("an idle connection takes %d bytes, want %d at most", grown, each)
	}
}

// clientMemory is what the client's side of so many connections takes in this process, measured on connections that are
// not used.
func clientMemory(t *testing.T, connections int) int64 {
	t.Helper()
	l := listen(t)
	defer l.Close()
	before := heap()
	var open []io.Closer
	for range connections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	grown := heap() - before
	for _, c := range open {
		_ = c.Close()
	}
	return grown + int64(connections)*4096 // the buffer the test reads through
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	s := start(t, func(r *fixedRouter) { r.stall = 20 * time.Millisecond }, func(c net.Conn, r *bufio.Reader) {
		if _, err := readRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.Copy(c, zeros{})
		}
	})
	c, _ := s.dial()
	s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if o := s.outcome(); o.Reason != ClientGone {
		t.Errorf("the outcome is %+v", o)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRequestAllocatesNothing counts the allocations of the whole process while requests pass; the test's own code
// reuses its buffers.
func TestRequestAllocatesNothing(t *testing.T) {
	s := start(t, nil, steady)
	c, _ := s.dial()
	request, answer := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), make([]byte, 4096)
	turn := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(answer); err != nil || n == 0 {
			t.Fatal(fmt.Errorf("read %d bytes: %w", n, err))
		}
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n > 0 {
		t.Errorf("a request takes %.1f allocations", n)
	}
}

// steady answers whatever comes without allocating.
func steady(c net.Conn, _ *bufio.Reader) {
	in, answer := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	for {
		if _, err := c.Read(in); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
