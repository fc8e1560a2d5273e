package traffic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Network is where Gateways' addresses are. Its methods are called by one goroutine at a time.
type Network interface {
	// Block holds the addresses that Gateways can be given. Not valid: there are none, and every listener's port is opened
	// at every address of the machine.
	Block() netip.Prefix
	// AddAddress gives the machine an address of the block; it is no error if it is there already.
	AddAddress(netip.Addr) error
	// RemoveAddress takes it away.
	RemoveAddress(netip.Addr) error
}

// sockets are the open sockets of listeners, apart from the platform's.
type sockets struct {
	gateway *Gateway
	network Network
	log     *slog.Logger

	mu      sync.Mutex
	open    map[SocketKey]*socket
	closed  int // could not be opened when it was tried last
	stopped bool
}

// socket is a port of an address. It hands plain connections, and those whose TLS ends here, to its HTTP server, and
// streams to their backends.
type socket struct {
	key      SocketKey
	gateway  *Gateway
	front    net.Listener // takes the plain requests of what it accepts
	listener net.Listener // accepts what front leaves
	server   *http.Server
	accepted chan net.Conn
	// closed ends the accepting of connections, drained the streams.
	closed, drained context.Context
	close, drain    context.CancelFunc
	streams         sync.WaitGroup
	serving         bool
}

func newSockets(g *Gateway, n Network, log *slog.Logger) *sockets {
	return &sockets{gateway: g, network: n, log: log, open: map[SocketKey]*socket{}}
}

// prepare opens the sockets of a table that are not open yet, whose connections wait until serve is called. It returns
// why others could not be opened.
func (s *sockets) prepare(t *Table) map[SocketKey]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := map[SocketKey]string{}
	for key := range t.sockets {
		if s.open[key] != nil || key == (SocketKey{}) || s.stopped {
			continue
		}
		one, err := s.listen(key)
		if err != nil {
			closed[key] = err.Error()
			continue
		}
		s.open[key] = one
	}
	s.closed = len(closed)
	return closed
}

// ready is nil once every socket that could be opened is served, unless there is none of those that there should be.
func (s *sockets) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 && s.closed > 0 {
		return errors.New("no port of a listener could be opened")
	}
	for _, one := range s.open {
		if !one.serving {
			return errors.New("the listeners' ports are being opened")
		}
	}
	return nil
}

func (s *sockets) listen(key SocketKey) (*socket, error) {
	host := ""
	if key.Address.IsValid() {
		if err := s.network.AddAddress(key.Address); err != nil {
			return nil, err
		}
		host = key.Address.String()
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(key.Port))))
	if err != nil {
		return nil, reason(err)
	}
	front := s.gateway.accelerate(l, key)
	one := &socket{key: key, gateway: s.gateway, front: front, listener: s.gateway.connections.listen(front), accepted: make(chan net.Conn)}
	one.closed, one.close = context.WithCancel(context.Background())
	one.drained, one.drain = context.WithCancel(context.Background())
	one.server = s.gateway.newServer(one)
	one.server.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), socketContext{}, key)
	}
	one.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return secureContext(withClient(ctx, c), c) }
	return one, nil
}

// reason is what the kernel said, without the address that a status names itself.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// serve starts what prepare has opened.
func (s *sockets) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.open {
		if one.serving {
			continue
		}
		one.serving = true
		go one.accept()
		go func() {
			if err := one.server.Serve(one); err != nil && !errors.Is(err, http.ErrServerClosed) && one.closed.Err() == nil {
				s.log.Error("a gateway's socket ended", "socket", one.listener.Addr(), "err", err)
			}
		}()
	}
}

// prune closes the sockets that a table does not have, and lets their requests finish.
func (s *sockets) prune(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[netip.Addr]bool{}
	for key := range t.sockets {
		kept[key.Address] = true
	}
	for key, one := range s.open {
		if t.sockets[key] != nil {
			continue
		}
		delete(s.open, key)
		_ = one.listener.Close()
		go s.retire(one, !kept[key.Address])
	}
}

// retire lets what is in flight finish. The address goes last, since connections need it.
func (s *sockets) retire(one *socket, last bool) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := one.stop(ctx); err != nil {
		s.log.Warn("requests were cut off", "socket", one.listener.Addr(), "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !last || !one.key.Address.IsValid() || s.uses(one.key.Address) {
		return
	}
	if err := s.network.RemoveAddress(one.key.Address); err != nil {
		s.log.Error("a gateway's address was not removed", "address", one.key.Address, "err", err)
	}
}

func (s *sockets) uses(a netip.Addr) bool {
	for key := range s.open {
		if key.Address == a {
			return true
		}
	}
	return false
}

// shutdown closes all sockets and waits for what is in flight until ctx ends. None is opened again.
func (s *sockets) shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	open := s.open
	s.open = map[SocketKey]*socket{}
	s.mu.Unlock()
	var all sync.WaitGroup
	errs := make(chan error, len(open))
	for _, one := range open {
		all.Go(func() { errs <- one.stop(ctx) })
	}
	all.Wait()
	close(errs)
	var joined error
	for err := range errs {
		joined = errors.Join(joined, err)
	}
	return joined
}

func (o *socket) stop(ctx context.Context) error {
	_ = o.Close()
	err := errors.Join(o.server.Shutdown(ctx), o.gateway.finishRaw(ctx, o.front))
	finished := make(chan struct{})
	go func() { o.streams.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-ctx.Done():
	}
	o.drain()
	if err != nil {
		return errors.Join(fmt.Errorf("requests still in flight: %w", err), o.server.Close())
	}
	return nil
}

// acceptDelay is how long to wait when the kernel gives no connection, as when there are too many open files.
const acceptDelay = 50 * time.Millisecond

// accept hands on connections until the listener is closed.
func (o *socket) accept() {
	for {
		conn, err := o.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-time.After(acceptDelay):
			case <-o.closed.Done():
				return
			}
			continue
		}
		l := o.gateway.live.Load()
		switch table := l.table.sockets[o.key]; {
		case table == nil:
			_ = conn.Close()
		case table.secure:
			go o.secure(conn, table)
		default:
			o.deliver(conn)
		}
	}
}

// deliver gives a connection to the HTTP server.
func (o *socket) deliver(conn net.Conn) {
	select {
	case o.accepted <- conn:
	case <-o.closed.Done():
		_ = conn.Close()
	}
}

// Accept implements net.Listener for the HTTP server.
func (o *socket) Accept() (net.Conn, error) {
	select {
	case conn := <-o.accepted:
		return conn, nil
	case <-o.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (o *socket) Close() error {
	o.close()
	_ = o.listener.Close() // it may be closed already
	return nil
}

// Addr implements net.Listener.
func (o *socket) Addr() net.Addr { return o.listener.Addr() }

// ServeHTTP answers a request that came on this socket.
func (o *socket) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.gateway.serve(o.key, w, r) }

type socketContext struct{}

// socketPort is the port of a listener of its own that a request came to; empty on the platform's socket, whose port may
// be another one from outside.
func socketPort(ctx context.Context) string {
	if key, ok := ctx.Value(socketContext{}).(SocketKey); ok {
		return strconv.Itoa(int(key.Port))
	}
	return ""
}

func requestScheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
