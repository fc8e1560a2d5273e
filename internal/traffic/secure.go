package traffic

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

var (
	errPeeked     = errors.New("the client's first message has been read")
	errNoListener = errors.New("no listener has the host name that the client asked for")
	errNotServed  = errors.New("the listener is not served")
)

// secure takes a connection that begins with TLS to the listener whose host name the client asks for.
func (o *socket) secure(conn net.Conn, table *socketTable) {
	if err := conn.SetDeadline(time.Now().Add(readHeaderTimeout)); err != nil {
		_ = conn.Close()
		return
	}
	var read []byte
	if table.passthrough {
		name, hello, err := peekServerName(conn)
		if err != nil {
			_ = conn.Close()
			return
		}
		if at := table.find(serverName(name)); at != nil && at.passthrough {
			_ = conn.SetDeadline(time.Time{})
			o.stream(conn, hello, at, name)
			return
		}
		read = hello
	}
	o.terminate(&secureConn{Conn: conn, first: bytes.NewReader(read)}, table)
}

// serverName is the name a client asks for, as listeners are indexed.
func serverName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// secureConn is a connection under TLS, of which some may have been read already.
type secureConn struct {
	net.Conn
	first *bytes.Reader
	// admission identifies what the client was asked for; see misdirected.
	admission string
	// mute drops what is written: a client that no listener is for gets no answer, as from a port that nobody serves.
	mute bool
}

func (c *secureConn) Write(p []byte) (int, error) {
	if c.mute {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *secureConn) Read(p []byte) (int, error) {
	if c.first != nil && c.first.Len() > 0 {
		return c.first.Read(p)
	}
	c.first = nil
	return c.Conn.Read(p)
}

// terminate ends TLS by what the listener has, and hands on what is inside. The newest table counts: a certificate that
// was replaced is shown to the next client.
func (o *socket) terminate(conn *secureConn, table *socketTable) {
	var at *listenerTable
	secured := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			l := o.gateway.live.Load()
			if newest := l.table.sockets[o.key]; newest != nil {
				table = newest
			}
			at = table.find(serverName(hello.ServerName))
			switch {
			case at == nil:
				conn.mute = true
				return nil, errNoListener
			case at.terminator == 0:
				conn.mute = true
				return nil, errNotServed
			}
			conn.admission = l.table.terminators[at.terminator-1].digest
			return l.configs[at.terminator-1], nil
		},
	})
	if err := secured.Handshake(); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if at.stream {
		o.stream(secured, nil, at, secured.ConnectionState().ServerName)
		return
	}
	o.deliver(secured)
}

// peekServerName reads the first message of a TLS client. It returns the name the client asks for and all that was read.
func peekServerName(conn net.Conn) (name string, read []byte, err error) {
	var seen bytes.Buffer
	peek := tls.Server(&peekConn{Conn: conn, from: io.TeeReader(conn, &seen)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errPeeked
		},
	})
	if err := peek.Handshake(); !errors.Is(err, errPeeked) {
		return "", nil, err
	}
	return name, seen.Bytes(), nil
}

// peekConn is read only: what crypto/tls says to a client it gives up on is not for this client.
type peekConn struct {
	net.Conn
	from io.Reader
}

func (c *peekConn) Read(p []byte) (int, error)  { return c.from.Read(p) }
func (c *peekConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *peekConn) Close() error                { return nil }

type admissionContext struct{}

// secureContext remembers for the requests of a connection what its client was asked for.
func secureContext(ctx context.Context, c net.Conn) context.Context {
	secured, ok := c.(*tls.Conn)
	if !ok {
		return ctx
	}
	inner, ok := secured.NetConn().(*secureConn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, admissionContext{}, inner.admission)
}

// misdirected says whether a request is for another listener than its connection: its name is another's, or its client
// was admitted by other authorities than are asked for now. Such a request is answered 421, whereupon clients open
// another connection (RFC 9110 section 15.5.20).
func misdirected(t *Table, s *socketTable, at *listenerTable, r *http.Request) bool {
	if r.TLS == nil {
		return false
	}
	if s.find(serverName(r.TLS.ServerName)) != at {
		return true
	}
	if at.terminator == 0 {
		return true
	}
	now := t.terminators[at.terminator-1]
	admitted, _ := r.Context().Value(admissionContext{}).(string)
	return now.clients != nil && now.digest != admitted
}
