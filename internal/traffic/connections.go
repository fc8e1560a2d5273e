package traffic

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
	"golang.org/x/sys/unix"
)

// connections are those from outside that the path on net/http serves, over all sockets. There is a limit to how many;
// when it is reached, those that have been without a request for longest make room.
type connections struct {
	limit atomic.Int64

	mu      sync.Mutex
	open    map[*clientConn]struct{}
	evicted atomic.Uint64
	refused atomic.Uint64
}

func newConnections() *connections {
	c := &connections{open: map[*clientConn]struct{}{}}
	c.limit.Store(connectionLimit())
	return c
}

// connectionLimit is maxConnections, or less where the process may not have so many files: each connection from outside
// can need one to a pod, and the process has others.
func connectionLimit() int64 {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return maxConnections
	}
	return int64(min(maxConnections, max(files.Cur*2/5, 64)))
}

// listen limits the connections that a listener accepts.
func (c *connections) listen(l net.Listener) net.Listener { return &limitedListener{l, c} }

type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &clientConn{Conn: c, connections: l.connections}
		conn.restSince.Store(time.Now().UnixNano())
		if l.connections.admit(conn) {
			return conn, nil
		}
		_ = c.Close()
	}
}

// admit takes a connection in, if need be in the place of others.
func (c *connections) admit(conn *clientConn) bool {
	limit := int(c.limit.Load())
	c.mu.Lock()
	var out []*clientConn
	if len(c.open) >= limit {
		out = c.longestResting(limit/64 + 1)
	}
	for _, old := range out {
		delete(c.open, old)
	}
	ok := len(c.open) < limit
	if ok {
		c.open[conn] = struct{}{}
	}
	c.mu.Unlock()
	for _, old := range out {
		_ = old.Conn.Close()
	}
	c.evicted.Add(uint64(len(out)))
	if !ok {
		c.refused.Add(1)
	}
	return ok
}

// longestResting is up to n connections: those without a request for longest. Finding them takes a look at all, so it is
// worth finding more than one.
func (c *connections) longestResting(n int) []*clientConn {
	type resting struct {
		conn  *clientConn
		since int64
	}
	var all []resting
	for conn := range c.open {
		if since := conn.restSince.Load(); since != 0 {
			all = append(all, resting{conn, since})
		}
	}
	slices.SortFunc(all, func(a, b resting) int { return cmp.Compare(a.since, b.since) })
	out := make([]*clientConn, 0, n)
	for _, r := range all[:min(len(all), n)] {
		out = append(out, r.conn)
	}
	return out
}

func (c *connections) leave(conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// count is how many connections there are, and how many of them serve no request.
func (c *connections) count() (open, resting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if conn.restSince.Load() != 0 {
			resting++
		}
	}
	return len(c.open), resting
}

// state is the hook http.Server.ConnState: it notes since when a connection has no request.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if s, ok := conn.(*secureConn); ok {
		conn = s.Conn
	}
	client, ok := conn.(*clientConn)
	if !ok {
		return
	}
	fastpath.ConnState(client.Conn, s)
	switch s {
	case http.StateActive, http.StateHijacked:
		client.restSince.Store(0)
	case http.StateIdle:
		client.restSince.Store(time.Now().UnixNano())
	}
}

// clientConn is a connection from outside. A client that takes no bytes for long is cut off.
type clientConn struct {
	net.Conn
	connections *connections
	restSince   atomic.Int64 // Unix nanoseconds; 0 while it serves a request
	writeUntil  atomic.Int64 // Unix nanoseconds of the deadline that Write set; 0 if it set none
	closed      atomic.Bool
}

// Write implements net.Conn.
func (c *clientConn) Write(b []byte) (int, error) {
	now := time.Now()
	if c.writeUntil.Load() < now.Add(writeStall).UnixNano() {
		until := now.Add(2 * writeStall)
		c.writeUntil.Store(until.UnixNano())
		if err := c.Conn.SetWriteDeadline(until); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.writeUntil.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.writeUntil.Store(0)
	return c.Conn.SetDeadline(t)
}

// CloseWrite closes the sending side; net/http uses it to let a client read an answer to a request it still sends.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.connections.leave(c)
	}
	return c.Conn.Close()
}
