package traffic

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clientLook is how often it is looked whether the client of a held request is still there, where nothing tells: of
// HTTP/1.1 net/http learns it by reading, and does not read on before a request's body has been read.
const clientLook = time.Second

type clientContext struct{}

// withClient remembers the connection of requests.
func withClient(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, clientContext{}, c)
}

// heldClient is the connection of a request whose body waits with it; nil where net/http notices that the client left.
type heldClient struct{ raw syscall.RawConn }

// unreadClient finds it by the context of a request.
func unreadClient(ctx context.Context) *heldClient {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok || !x.unread {
		return nil
	}
	conn, ok := ctx.Value(clientContext{}).(net.Conn)
	if !ok {
		return nil
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if s, ok := conn.(*secureConn); ok {
		conn = s.Conn
	}
	if c, ok := conn.(*clientConn); ok {
		conn = c.Conn
	}
	inner, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := inner.SyscallConn()
	if err != nil {
		return nil
	}
	return &heldClient{raw}
}

// hasUnreadBody says that a request of HTTP/1.1 comes with a body.
func hasUnreadBody(r *http.Request) bool { return r.ProtoMajor == 1 && r.ContentLength != 0 }

// looks is when to look; never for nil.
func (h *heldClient) looks() *time.Ticker {
	t := time.NewTicker(clientLook)
	if h == nil {
		t.Stop()
	}
	return t
}

// left says whether the client closed its side, whatever it sent before.
func (h *heldClient) left() bool {
	gone := false
	err := h.raw.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(set, 0)
		gone = err == nil && n > 0 && set[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
