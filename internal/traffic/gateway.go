package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
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
	series   map[SeriesKey]*series
	configs  map[string]*tls.Config // by terminator.digest
}

// live is a table with the backends and counters it refers to by number.
type live struct {
	table    *Table
	backends []*backend
	series   []*series
	rawRules sync.Map      // *rule to *rawRule, filled as they are asked for
	configs  []*tls.Config // of the table's terminators
}

func newGateway(listener net.Listener, log *slog.Logger, shared *sharedPlane) *Gateway {
	g := &Gateway{
		listener: listener, log: log, installed: make(chan struct{}), shared: shared, connections: newConnections(),
		backends: map[BackendKey]*backend{}, series: map[SeriesKey]*series{}, configs: map[string]*tls.Config{},
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

// install puts a table in place. Backends and counters that it shares with the one before go on; addresses tells where
// a new backend can be reached, and an error from it leaves the old table in place.
func (g *Gateway) install(t *Table, find func(BackendKey) (addresses, error)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := &live{table: t}
	backends := make(map[BackendKey]*backend, len(t.Backends))
	for _, key := range t.Backends {
		b := g.backends[key]
		if b == nil {
			found, err := find(key)
			if err != nil {
				return fmt.Errorf("endpoints of %q: %w", key, err)
			}
			b = newBackend(key, g.shared)
			b.upstream = t.upstream[key.TLS]
			b.update(found)
		}
		backends[key] = b
		next.backends = append(next.backends, b)
	}
	counters := make(map[SeriesKey]*series, len(t.Series))
	for _, key := range t.Series {
		s := g.series[key]
		if s == nil {
			s = &series{}
		}
		counters[key] = s
		next.series = append(next.series, s)
	}
	configs := make(map[string]*tls.Config, len(t.terminators))
	for _, one := range t.terminators {
		c := g.configs[one.digest]
		if c == nil {
			c = one.config()
		}
		configs[one.digest] = c
		next.configs = append(next.configs, c)
	}
	gone := g.backends
	g.backends, g.series, g.configs = backends, counters, configs
	if g.live.Swap(next) == nil {
		close(g.installed)
	}
	for key, b := range gone {
		if backends[key] == nil {
			b.retire()
		}
	}
	return nil
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
	g.serveEntry(live, e, w, r, started)
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
