package traffic

import (
	"net/http"
	"net/netip"
	"sync/atomic"
)

// SocketKey is where connections arrive: a port of an address. The zero value is the platform's own socket; an address
// that is not valid stands for every address of the machine.
type SocketKey struct {
	Address netip.Addr
	Port    int32
}

// socketTable holds the listeners of one socket.
type socketTable struct {
	listeners hostIndex[*listenerTable]
	// secure says that connections begin with TLS, and passthrough that some of it may not be terminated here.
	secure, passthrough bool
}

// listenerTable holds the routes attached to one listener, or to all listeners of one host name where they share the
// platform's socket.
type listenerTable struct {
	// Their hosts are replaced as a whole when routes change.
	hosts atomic.Pointer[hostIndex[*pathIndex]]
	// terminator is a number in Table.terminators plus one; 0 without TLS and where it is passed through.
	terminator int
	// stream says that connections are handed to the streams of routes; else they speak HTTP.
	stream, passthrough bool
}

// streamRule is what happens to a connection that matches a TLSRoute.
type streamRule struct {
	route string // "namespace/name"
	rule  *rule
}

func (t *Table) socket(k SocketKey) *socketTable {
	s := t.sockets[k]
	if s == nil {
		s = &socketTable{}
		t.sockets[k] = s
	}
	return s
}

func (s *socketTable) listener(hostname string) *listenerTable {
	l, ok := s.listeners.at(hostname)
	if !ok {
		l = &listenerTable{}
		s.listeners.set(hostname, l)
	}
	return l
}

// routes are the listener's, as the data plane has them.
func (l *listenerTable) routes() *hostIndex[*pathIndex] {
	if h := l.hosts.Load(); h != nil {
		return h
	}
	return &hostIndex[*pathIndex]{}
}

// find returns the listener for a host name: that of the most specific name is the only one that is asked, as if each
// were a server of its own. It returns nil when there is none.
func (s *socketTable) find(host string) *listenerTable {
	var found *listenerTable
	if s != nil {
		s.listeners.candidates(host, func(l *listenerTable) bool {
			found = l
			return false
		})
	}
	return found
}

// lookup returns the match for a request on the platform's socket, or nil.
func (t *Table) lookup(host, path string, r *http.Request) *entry {
	return t.sockets[SocketKey{}].find(host).lookup(host, path, r)
}

func (l *listenerTable) lookup(host, path string, r *http.Request) *entry {
	if l == nil {
		return nil
	}
	hosts := l.hosts.Load()
	if hosts == nil {
		return nil
	}
	var found *entry
	hosts.candidates(host, func(p *pathIndex) bool {
		found = p.lookup(path, r)
		return found == nil
	})
	return found
}
