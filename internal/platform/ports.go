package platform

import (
	"fmt"
	"net"
)

// The names of the platform's listeners.
const (
	PortAPI      = "api"
	PortGateway  = "gateway"
	PortPortal   = "portal"
	PortRegistry = "registry"
)

// Whose network the pods are on.
const (
	// IsolationHost puts pods on the machine's network: Service addresses work from the machine, and pods reach what
	// the machine reaches. It needs root.
	IsolationHost = "host"
	// IsolationPrivate gives the platform a network of its own. The gateway, the portal, the API and the registry are
	// reachable from the machine; pods reach each other and nothing outside.
	IsolationPrivate = "private"
)

// Ports are the TCP ports the platform answers on at 127.0.0.1; 0 takes a free one.
type Ports struct {
	API, Gateway, Portal, Registry int
}

// Listen opens all ports, or none.
func (p Ports) Listen() (map[string]net.Listener, error) {
	open := map[string]net.Listener{}
	for _, w := range []struct {
		name string
		port int
	}{{PortAPI, p.API}, {PortGateway, p.Gateway}, {PortPortal, p.Portal}, {PortRegistry, p.Registry}} {
		l, err := listen("127.0.0.1", w.port, "--"+w.name+"-port")
		if err != nil {
			for _, l := range open {
				_ = l.Close()
			}
			return nil, fmt.Errorf("opening the %s port: %w", w.name, err)
		}
		open[w.name] = l
	}
	return open, nil
}

// listen opens a TCP listener; flag is the option that chooses another port.
func listen(host string, port int, flag string) (net.Listener, error) {
	addr := net.JoinHostPort(host, fmt.Sprint(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w: stop the program that uses the port, or choose another with %s", addr, err, flag)
	}
	return l, nil
}
