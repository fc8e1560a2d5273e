package traffic

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
	"golang.org/x/sys/unix"
)

// newEndpoint makes the endpoint of an address, with the connections of the path on net/http.
func newEndpoint(address string, b *backend) *endpoint {
	protocols := &http.Protocols{}
	b.setProtocols(protocols)
	return &endpoint{address: address, raw: newRaw(address, b.key), transport: &http.Transport{
		DialContext:            b.dial,
		Protocols:              protocols,
		TLSClientConfig:        b.upstream,
		MaxIdleConnsPerHost:    maxIdlePerEndpoint,
		IdleConnTimeout:        idleConnection,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
	}}
}

// newRaw makes the endpoint as the raw path knows it; nil for one that speaks another protocol.
func newRaw(address string, key BackendKey) *fastpath.Upstream {
	if key != (BackendKey{Namespace: key.Namespace, Service: key.Service, Port: key.Port, PortName: key.PortName}) {
		return nil
	}
	raw, err := fastpath.NewUpstream(address)
	if err != nil {
		return nil
	}
	return raw
}

// podDialer gives up on a pod that is gone without a word, as when its node lost its power: one that takes no bytes
// after unackedTimeout, and one that waits for an answer when keep-alive probes find nobody.
var podDialer = net.Dialer{
	Timeout:         dialTimeout,
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: probes},
	Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedTimeout.Milliseconds()))
		}); controlErr != nil {
			return controlErr
		}
		return err
	},
}

// dial makes a connection to a pod.
func (b *backend) dial(ctx context.Context, network, address string) (net.Conn, error) {
	started := time.Now()
	c, err := podDialer.DialContext(ctx, network, address)
	b.dialled(time.Since(started), classify(err))
	return c, err
}
