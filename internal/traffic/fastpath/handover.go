package fastpath

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// handOver gives the connection, with the bytes that were read of it, to the reference path for good.
func (c *client) handOver(data []byte) {
	prefix := bytes.Clone(data)
	if inner := c.part(); inner != nil {
		c.loop.server.handed.add(&handed{TCPConn: inner, prefix: prefix})
	}
}

// lend gives the connection to the reference path for one request: a head and a body of so many bytes. Data begins
// with them and may hold what follows.
func (c *client) lend(data []byte, head int, length int64) {
	if c.hup {
		c.handOver(data)
		return
	}
	data = bytes.Clone(data)
	body := int(min(int64(len(data)-head), length))
	n := &lent{
		handed: handed{prefix: data[:head+body]},
		server: c.loop.server, peer: c.peer, left: length - int64(body), after: data[head+body:],
	}
	if n.TCPConn = c.part(); n.TCPConn != nil {
		n.server.handed.add(n)
	}
}

// part takes the connection out of the loop, as the standard library has connections. It returns nil if that fails;
// then the connection is closed.
func (c *client) part() *net.TCPConn {
	_ = c.loop.control(unix.EPOLL_CTL_DEL, int(c.fd), 0, 0)
	fd := c.fd
	c.leave()
	file := os.NewFile(uintptr(fd), "client")
	defer file.Close()
	inner, err := net.FileConn(file)
	if err != nil {
		return nil
	}
	return inner.(*net.TCPConn)
}

// handed is a connection of which some bytes were read already.
type handed struct {
	*net.TCPConn
	prefix []byte
}

// Read implements net.Conn.
func (h *handed) Read(b []byte) (int, error) {
	if len(h.prefix) == 0 {
		return h.TCPConn.Read(b)
	}
	n := copy(b, h.prefix)
	if h.prefix = h.prefix[n:]; len(h.prefix) == 0 {
		h.prefix = nil
	}
	return n, nil
}

// lent is a connection lent for one request. The server of the reference path sees that request and nothing behind it,
// so once it waits for another, nothing is lost by taking the connection back.
type lent struct {
	handed
	server *Server
	peer   string
	left   int64  // of the request's body, still to be read
	after  []byte // what was read behind the request
	idle   atomic.Bool

	mu   sync.Mutex
	over bool // closed, or back
}

// ConnState is for the http.Server of the reference path: it must call this, for connections to come back.
func ConnState(c net.Conn, state http.ConnState) {
	if l, ok := c.(*lent); ok {
		l.idle.Store(state == http.StateIdle)
	}
}

// Read implements net.Conn.
func (c *lent) Read(b []byte) (int, error) {
	switch {
	case len(c.prefix) > 0:
		return c.handed.Read(b)
	case c.left > 0:
		n, err := c.TCPConn.Read(b[:min(int64(len(b)), c.left)])
		c.left -= int64(n)
		return n, err
	case c.idle.Load():
		c.comeBack()
		return 0, io.EOF
	}
	return 0, c.awaitEnd()
}

// awaitEnd returns when the client closes its side, without taking bytes of its next request.
func (c *lent) awaitEnd() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := peek(int32(fd))
		return n == 0 && err != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return io.EOF
}

// comeBack gives the connection to the raw path again.
func (c *lent) comeBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	if fd, ok := c.duplicate(); ok {
		c.server.takeBack(accepted{fd: fd, peer: c.peer, data: c.after, returned: true})
	}
	_ = c.TCPConn.Close()
}

func (c *lent) duplicate() (fd int, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	controlErr := raw.Control(func(of uintptr) {
		fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, err == nil && controlErr == nil
}

// Close implements net.Conn.
func (c *lent) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil
	}
	c.over = true
	return c.TCPConn.Close()
}

// takeBack gives a connection to the loop with the fewest.
func (s *Server) takeBack(a accepted) {
	best := 0
	for i := range s.load {
		if s.load[i].Load() < s.load[best].Load() {
			best = i
		}
	}
	if !s.loops[best].give(a) {
		_ = syscall.Close(a.fd)
	}
}

// queue holds the connections that wait for the reference path to accept them.
type queue struct {
	mu     sync.Mutex
	filled sync.Cond
	conns  []net.Conn
	closed bool
}

func (q *queue) add(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		_ = c.Close()
		return
	}
	q.conns = append(q.conns, c)
	q.filled.Signal()
}

func (q *queue) take() (net.Conn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.conns) == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return nil, net.ErrClosed
	}
	c := q.conns[0]
	q.conns[0] = nil
	q.conns = q.conns[1:]
	return c, nil
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, c := range q.conns {
		_ = c.Close()
	}
	q.conns = nil
	q.filled.Broadcast()
}
