package network

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// Listen listens on several TCP addresses as one.
func Listen(addrs ...string) (net.Listener, error) {
	return merge(nil, addrs)
}

// Merge adds TCP addresses to a listener, such as one inherited from another network namespace. It takes over first:
// closing the result closes all, and so does a failure. The result's Addr is that of first.
func Merge(first net.Listener, addrs ...string) (net.Listener, error) {
	return merge([]net.Listener{first}, addrs)
}

func merge(parts []net.Listener, addrs []string) (net.Listener, error) {
	m := &merged{parts: parts, accepted: make(chan accepted), done: make(chan struct{})}
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening on %s: %w", a, err), m.Close())
		}
		m.parts = append(m.parts, l)
	}
	if len(m.parts) == 0 {
		return nil, errors.New("no address to listen on")
	}
	for _, l := range m.parts {
		go m.serve(l)
	}
	return m, nil
}

// merged is several listeners that look like one.
type merged struct {
	parts    []net.Listener
	accepted chan accepted

	close sync.Once
	done  chan struct{}
	err   error
}

type accepted struct {
	conn net.Conn
	err  error
}

// serve hands over what one part accepts. An error is handed over like a connection: the caller of Accept decides
// whether to go on, and a part that is closed for good ends here.
func (m *merged) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case m.accepted <- accepted{conn, err}:
		case <-m.done:
			if conn != nil {
				conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept returns the next connection on any of the addresses.
func (m *merged) Accept() (net.Conn, error) {
	select {
	case a := <-m.accepted:
		return a.conn, a.err
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// Close closes all addresses. Connections accepted before stay open.
func (m *merged) Close() error {
	m.close.Do(func() {
		close(m.done)
		for _, l := range m.parts {
			m.err = errors.Join(m.err, l.Close())
		}
	})
	return m.err
}

// Addr is the first of the addresses.
func (m *merged) Addr() net.Addr { return m.parts[0].Addr() }
