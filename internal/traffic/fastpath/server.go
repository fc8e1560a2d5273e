package fastpath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Server takes the connections of a listener. It is itself the listener of the reference path, which gets from Accept
// the connections that this path does not serve.
type Server struct {
	router   Router
	listener *net.TCPListener
	stall    time.Duration
	socket   int
	loops    []*loop
	load     []atomic.Int64 // connections of each loop
	room     atomic.Pointer[Room]
	handed   queue
	running  sync.WaitGroup
	stopped  chan struct{}
	closing  sync.Once
}

// Listen takes over a listener and serves it at once, with this many loops. Each uses one processor at most, and sleeps
// in a thread of its own.
func Listen(l *net.TCPListener, router Router, n int) (*Server, error) {
	return listenFor(l, router, n, WriteStall)
}

// listenFor is Listen with another time that a client may take no byte of an answer.
func listenFor(l *net.TCPListener, router Router, n int, stall time.Duration) (*Server, error) {
	socket, err := listenerSocket(l)
	if err != nil {
		return nil, fmt.Errorf("duplicating the socket of %s: %w", l.Addr(), err)
	}
	s := &Server{router: router, listener: l, socket: socket, stall: stall, load: make([]atomic.Int64, n), stopped: make(chan struct{})}
	s.handed.filled.L = &s.handed.mu
	err = inherit(socket)
	for i := 0; err == nil && i < n; i++ {
		var loop *loop
		if loop, err = newLoop(s, i, socket); err == nil {
			s.loops = append(s.loops, loop)
		}
	}
	if err != nil {
		for _, l := range s.loops {
			l.close()
		}
		return nil, errors.Join(err, unix.Close(socket))
	}
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	go func() {
		s.running.Wait()
		_ = unix.Close(s.socket)
		close(s.stopped)
	}()
	return s, nil
}

// Accept implements net.Listener.
func (s *Server) Accept() (net.Conn, error) { return s.handed.take() }

// Addr implements net.Listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close stops accepting and closes the connections that serve no request. The others go on: see Shutdown.
func (s *Server) Close() error {
	var err error
	s.closing.Do(func() {
		err = s.listener.Close()
		s.tell(func(l *loop) { l.inbox.drain = true })
		// The loops hold the socket as well: it must refuse from now on, not let connections wait.
		_ = unix.Shutdown(s.socket, unix.SHUT_RD)
		s.handed.close()
	})
	return err
}

// Shutdown closes the server and waits for the requests in flight. When ctx ends before, it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.Close()
	select {
	case <-s.stopped:
		return err
	case <-ctx.Done():
	}
	s.tell(func(l *loop) { l.inbox.abort = true })
	<-s.stopped
	return errors.Join(err, ctx.Err())
}

func (s *Server) tell(what func(*loop)) {
	for _, l := range s.loops {
		l.inbox.Lock()
		what(l)
		l.inbox.Unlock()
		l.wake()
	}
}
