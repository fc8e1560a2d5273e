package trigger

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Dialer connects to the servers of triggers. They are written for a scaler that runs in a pod, with the names that a pod
// may use: "redis.shop" is the Service "redis" in the namespace "shop". A nil Dialer knows the machine's names only.
type Dialer struct {
	resolver *net.Resolver
	zone     string
}

// NewDialer asks the cluster's resolver at an address. zone is the cluster's, such as "cluster.local".
func NewDialer(server netip.AddrPort, zone string) *Dialer {
	return &Dialer{zone: zone, resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server.String())
	}}}
}

// DialContext connects as net.Dialer does.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	plain := net.Dialer{}
	host, port, err := net.SplitHostPort(address)
	if d == nil || err != nil {
		return plain.DialContext(ctx, network, address)
	}
	last := error(nil)
	for _, addr := range d.lookup(ctx, host) {
		conn, err := plain.DialContext(ctx, network, net.JoinHostPort(addr.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		last = err
	}
	if last != nil {
		return nil, last
	}
	return plain.DialContext(ctx, network, address) // its error, if any, is the one people know
}

// over connects and, with a configuration, begins TLS for the host's name.
func (d *Dialer) over(config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	if config == nil {
		return d.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		named := config.Clone()
		if host, _, err := net.SplitHostPort(address); err == nil && named.ServerName == "" {
			named.ServerName = host
		}
		secure := tls.Client(conn, named)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
}

// lookup is what the cluster's resolver knows of a host; nothing for addresses and for names it does not know.
func (d *Dialer) lookup(ctx context.Context, host string) []netip.Addr {
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return nil
	}
	for _, name := range d.names(host) {
		found, err := d.resolver.LookupNetIP(ctx, "ip", name)
		if err == nil && len(found) > 0 {
			return found
		}
		var unknown *net.DNSError
		if errors.As(err, &unknown) && !unknown.IsNotFound {
			return nil
		}
	}
	return nil
}

// names are what a host may mean, in the order in which a pod's resolver tries them. The names of a pod's own namespace
// are left out: whose would it be?
func (d *Dialer) names(host string) []string {
	const mostDots = 5 // Kubernetes' ndots
	dots := strings.Count(host, ".")
	switch {
	case strings.HasSuffix(host, "."):
		return []string{host}
	case strings.HasSuffix(host, "."+d.zone), dots >= mostDots:
		return []string{host + "."}
	case dots == 0:
		return nil
	}
	return []string{host + ".svc." + d.zone + ".", host + "." + d.zone + ".", host + "."}
}
