package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// stream joins a connection to a backend of the TLSRoute that has its name. first is what has been read of it.
func (o *socket) stream(conn net.Conn, first []byte, at *listenerTable, name string) {
	defer conn.Close()
	inUse(conn)
	var found *streamRule
	at.routes().candidates(serverName(name), func(p *pathIndex) bool {
		found = p.stream
		return found == nil
	})
	if found == nil || found.rule.totalWeight == 0 {
		return
	}
	t := found.rule.choose()
	if t.fail != "" {
		return
	}
	o.streams.Add(1)
	defer o.streams.Done()
	ctx, cancel := context.WithCancel(o.drained)
	defer cancel()
	b := t.backend.live
	up, e, err := b.connect(ctx, !at.passthrough)
	if err != nil {
		o.gateway.log.Debug("stream has no backend", "route", found.route, "backend", b.key.String(), "err", err)
		return
	}
	defer up.Close()
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	context.AfterFunc(ctx, func() {
		_ = up.Close()
		_ = conn.Close()
	})
	if _, err := up.Write(first); err != nil {
		return
	}
	join(conn, up)
}

// inUse keeps a connection from being closed for one that has a request: a stream has no end of one.
func inUse(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if s, ok := conn.(*secureConn); ok {
		conn = s.Conn
	}
	if c, ok := conn.(*clientConn); ok {
		c.restSince.Store(0)
	}
}

// connect opens a connection to an endpoint of the backend, waiting for one if there is none. It is secured as the
// backend's policy says where the client's own TLS does not go through.
func (b *backend) connect(ctx context.Context, secure bool) (net.Conn, *endpoint, error) {
	var tried []*endpoint
	var last error
	for len(tried) < maxAttempts {
		e, err := b.endpoint(ctx, tried)
		if err != nil {
			return nil, nil, errors.Join(last, err)
		}
		conn, err := b.dial(ctx, "tcp", e.address)
		if err == nil && secure && b.upstream != nil {
			secured := tls.Client(conn, b.upstream)
			if err = secured.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
			}
			conn = secured
		}
		if err == nil {
			return conn, e, nil
		}
		last = err
		tried = append(tried, e)
	}
	return nil, nil, last
}

// join copies both ways until both have ended. The end of one way is passed on, so that the other may go on.
func join(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyWay(b, a)
	}()
	copyWay(a, b)
	<-done
}

func copyWay(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}
