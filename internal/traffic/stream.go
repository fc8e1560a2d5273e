package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
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
	f := flow{}
	if t.fail != "" {
		f.begin(t.series, nil, time.Now())
		f.fail(notServed, http.StatusInternalServerError)
		f.end(time.Now())
		return
	}
	o.streams.Add(1)
	defer o.streams.Done()
	ctx, cancel := context.WithCancel(o.drained)
	defer cancel()
	b := t.backend.live
	f.begin(t.series, b, time.Now())
	defer func() { f.end(time.Now()) }()
	up, e, err := b.connect(ctx, !at.passthrough)
	if err != nil {
		f.fail(classify(err), http.StatusBadGateway)
		o.gateway.log.Debug("stream has no backend", "route", found.route, "backend", b.name, "err", err)
		return
	}
	defer up.Close()
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	context.AfterFunc(ctx, func() {
		_ = up.Close()
		_ = conn.Close()
	})
	// A stream that a pod took counts as answered; it is a conversation, as an upgraded connection is.
	f.answer(http.StatusOK, time.Now())
	f.upgrade()
	if _, err := up.Write(first); err != nil {
		return
	}
	j := &junction{idle: b.shared.streamIdle}
	f.in, f.out = j.join(conn, up)
	f.in += int64(len(first))
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
			b.attempted(e, succeeded, http.StatusOK, time.Now())
			return conn, e, nil
		}
		if ctx.Err() == nil {
			b.attempted(e, classify(err), 0, time.Now())
		}
		last = err
		tried = append(tried, e)
	}
	return nil, nil, last
}

// junction joins two connections for as long as bytes pass.
type junction struct {
	idle time.Duration
	last atomic.Int64 // Unix nanoseconds of the last bytes, either way
}

// join copies both ways until both have ended, or nothing passed for too long. The end of one way is passed on, so that
// the other may go on. It returns how many bytes came from each.
func (j *junction) join(a, b net.Conn) (fromA, fromB int64) {
	j.last.Store(time.Now().UnixNano())
	done := make(chan struct{})
	go func() {
		defer close(done)
		fromA = j.copyWay(b, a)
	}()
	fromB = j.copyWay(a, b)
	<-done
	return fromA, fromB
}

func (j *junction) copyWay(to, from net.Conn) int64 {
	n, err := io.Copy(to, &junctionReader{j, from})
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return n
	}
	_ = to.Close()
	_ = from.Close()
	return n
}

// junctionReader reads one of the connections. It gives up when neither has sent anything for too long.
type junctionReader struct {
	*junction
	from net.Conn
}

func (r *junctionReader) Read(p []byte) (int, error) {
	for {
		if err := r.from.SetReadDeadline(time.Unix(0, r.last.Load()).Add(r.idle)); err != nil {
			return 0, err
		}
		n, err := r.from.Read(p)
		if n > 0 {
			r.last.Store(time.Now().UnixNano())
		}
		var late net.Error
		if n == 0 && errors.As(err, &late) && late.Timeout() && time.Since(time.Unix(0, r.last.Load())) < r.idle {
			continue // the other way is in use
		}
		return n, err
	}
}
