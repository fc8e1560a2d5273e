package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/traffic/view"
)

// Gateway is the data plane. It serves the table that was installed last; until the first one it holds requests.
type Gateway struct {
	listener net.Listener
	log      *slog.Logger
	proxy    *httputil.ReverseProxy

	live      atomic.Pointer[live]
	installed chan struct{} // closed with the first table
	unrouted  series

	connections *connections
	fronts      fronts

	draining atomic.Bool
	statuses *pending

	privateCookie string // is not forwarded; empty for none
	sockets       *sockets

	shared   *sharedPlane
	history  view.History // what passed in the last minutes, for the pages
	mu       sync.Mutex   // guards what follows and every backend's update
	backends map[BackendKey]*backend
	configs  map[string]*tls.Config // by terminator.digest
}

// live is a table with what terminates its TLS.
type live struct {
	table   *Table
	configs []*tls.Config // of the table's terminators
}

func newGateway(listener net.Listener, log *slog.Logger, shared *sharedPlane) *Gateway {
	g := &Gateway{
		listener: listener, log: log, installed: make(chan struct{}), shared: shared, connections: newConnections(),
		backends: map[BackendKey]*backend{}, configs: map[string]*tls.Config{},
	}
	g.history.Kinds = failureNames[:]
	g.sockets = newSockets(g, nil, log)
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			rewriteRequest(p)
			dropCookie(p.Out.Header, g.privateCookie)
		},
		Transport:      sender{},
		ModifyResponse: modifyResponse,
		ErrorHandler:   g.answerError,
		BufferPool:     &buffers{},
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return g
}

// install puts a table in place, or what changed in the one that is. Backends and counters that it shares with the one
// before go on; find tells where a new backend can be reached, and an error from it leaves all as it was.
func (g *Gateway) install(t *Table, find func(BackendKey) (addresses, error)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range t.changes.added {
		if err := g.enliven(ref, find); err != nil {
			return err
		}
	}
	t.commitHosts()
	gone := t.changes.dropped
	if before := g.live.Load(); before == nil || before.table != t {
		next := &live{table: t}
		next.configs, g.configs = g.secureBy(t)
		if g.live.Swap(next) == nil {
			close(g.installed)
		}
		gone = nil
		for key := range g.backends {
			gone = append(gone, &backendRef{key: key})
		}
	}
	t.changes.added, t.changes.dropped = nil, nil
	for _, ref := range gone {
		if b := g.backends[ref.key]; b != nil && t.backends.get(ref.key) == nil {
			delete(g.backends, ref.key)
			b.retire()
		}
	}
	return nil
}

// enliven gives a reference the backend it stands for; the caller holds mu.
func (g *Gateway) enliven(ref *backendRef, find func(BackendKey) (addresses, error)) error {
	if ref.live = g.backends[ref.key]; ref.live != nil {
		return nil
	}
	found, err := find(ref.key)
	if err != nil {
		return fmt.Errorf("endpoints of %q: %w", ref.key, err)
	}
	b := newBackend(ref.key, g.shared)
	b.upstream = ref.upstream
	b.update(found)
	g.backends[ref.key], ref.live = b, b
	return nil
}

// secureBy are the configurations of a table's terminators, by number and by digest; those that are there are used on.
// The caller holds mu.
func (g *Gateway) secureBy(t *Table) (list []*tls.Config, configs map[string]*tls.Config) {
	configs = make(map[string]*tls.Config, len(t.terminators))
	for _, one := range t.terminators {
		c := g.configs[one.digest]
		if c == nil {
			c = one.config()
		}
		configs[one.digest] = c
		list = append(list, c)
	}
	return list, configs
}

// backendList is every backend that a rule sends requests to.
func (g *Gateway) backendList() []*backend {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.backends))
}

// updateEndpoints replaces the addresses of the backends of one Service.
func (g *Gateway) updateEndpoints(namespace, service string, find func(BackendKey) (addresses, error)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, b := range g.backends {
		if key.Namespace != namespace || key.Service != service {
			continue
		}
		found, err := find(key)
		if err != nil {
			return fmt.Errorf("endpoints of %q: %w", key, err)
		}
		b.update(found)
	}
	return nil
}

// Start serves the listener until ctx ends, then lets the requests in flight finish for 20 seconds. It implements
// manager.Runnable.
func (g *Gateway) Start(ctx context.Context) error {
	server := g.newServer(g)
	listener := g.accelerate(g.listener, SocketKey{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(g.connections.listen(listener)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the gateway at %s: %w", g.listener.Addr(), err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	others := make(chan error, 1)
	go func() { others <- g.sockets.shutdown(draining) }()
	if err := errors.Join(server.Shutdown(draining), g.finishRaw(draining, listener)); err != nil {
		return errors.Join(fmt.Errorf("requests still in flight after %s: %w", shutdownTimeout, err), server.Close(), <-others)
	}
	return <-others
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every process serves requests.
func (g *Gateway) NeedLeaderElection() bool { return false }

// ServeHTTP answers a request on the platform's socket.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve(SocketKey{}, w, r) }

// serve answers a request on a socket.
func (g *Gateway) serve(socket SocketKey, w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	if isGRPC(r) {
		w = grpcWriter{w}
	}
	if lastOfConnection(r) || g.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	path, err := requestPath(r.URL)
	switch {
	case err != nil:
	case r.Method == http.MethodConnect:
		err = errConnect
	case strings.Contains(r.RequestURI, "#"):
		err = errFragment
	}
	if err != nil {
		if r.ProtoMajor == 1 { // what follows is not to be trusted
			w.Header().Set("Connection", "close")
		}
		g.refuse(w, started, http.StatusBadRequest, err.Error())
		return
	}
	live := g.current(r.Context())
	if live == nil {
		w.Header().Set("Retry-After", retryAfter)
		g.refuse(w, started, http.StatusServiceUnavailable, "the gateway is starting and has read no routes yet: try again")
		return
	}
	host := requestHost(r.Host)
	listeners := live.table.sockets[socket]
	at := listeners.find(host)
	if at != nil && misdirected(live.table, listeners, at, r) {
		g.refuse(w, started, http.StatusMisdirectedRequest, fmt.Sprintf("host %q is not for this connection: open another", host))
		return
	}
	e := at.lookup(host, path, r)
	if e == nil {
		g.refuse(w, started, http.StatusNotFound, fmt.Sprintf("no route for host %q and path %q", host, path))
		return
	}
	g.serveEntry(e, w, r, started)
}

var errConnect = errors.New("the method CONNECT is not supported")

// current is the newest table; before the first, it waits for it.
func (g *Gateway) current(ctx context.Context) *live {
	if l := g.live.Load(); l != nil {
		return l
	}
	expired := time.NewTimer(startHold)
	defer expired.Stop()
	select {
	case <-g.installed:
	case <-expired.C:
	case <-ctx.Done():
	}
	return g.live.Load()
}

// refuse answers a request that belongs to no route.
func (g *Gateway) refuse(w http.ResponseWriter, started time.Time, code int, text string) {
	f := flow{code: code}
	f.begin(&g.unrouted, nil, started)
	answer(w, code, text)
	f.end(time.Now())
}

// answer writes an answer of the gateway's own; the prefix tells it from a backend's.
func answer(w http.ResponseWriter, code int, text string) {
	if _, ok := w.(grpcWriter); ok {
		answerGRPC(w, code, "escale gateway: "+text)
		return
	}
	http.Error(w, "escale gateway: "+text, code)
}

// buffers lends the buffers that bodies are copied through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
