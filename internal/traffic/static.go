package traffic

import (
	"log/slog"
	"net"
	"slices"
)

// Static makes a gateway that serves fixed objects without a cluster: endpoints are the addresses ("ip:port") of a
// Service by "namespace/name". It is the same data plane, as benchmarks need it.
func Static(l net.Listener, log *slog.Logger, f Facts, endpoints map[string][]string) (*Gateway, error) {
	g := newGateway(l, log, newSharedPlane(nil, 0))
	err := g.install(Compile(f, nil).Table, func(key BackendKey) (addresses, error) {
		return addresses{ready: slices.Clone(endpoints[key.Namespace+"/"+key.Service])}, nil
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}
