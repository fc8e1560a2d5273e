package alone

import (
	"net"
	"net/netip"
	"sync"
)

// everywhere is the traffic.Network of a pod: it has no addresses to give, so that each listener's port is opened at
// every address of the pod.
type everywhere struct{}

func (everywhere) Block() netip.Prefix            { return netip.Prefix{} }
func (everywhere) AddAddress(netip.Addr) error    { return nil }
func (everywhere) RemoveAddress(netip.Addr) error { return nil }

// nowhere is the listener of a gateway that has no socket beside those of its listeners. Its address is the one that
// Gateways publish.
type nowhere struct {
	address net.IP
	closed  chan struct{}
	closing sync.Once
}

func newNowhere(address net.IP) *nowhere {
	return &nowhere{address: address, closed: make(chan struct{})}
}

// Accept implements net.Listener: it waits for the end.
func (n *nowhere) Accept() (net.Conn, error) {
	<-n.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (n *nowhere) Close() error {
	n.closing.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (n *nowhere) Addr() net.Addr { return &net.TCPAddr{IP: n.address} }
