package traffic

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/traffic/fastpath"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// addresses are where a backend can be reached, each as "ip:port", sorted.
type addresses struct {
	// ready take requests.
	ready []string
	// draining are about to stop but still serve: used when nothing is ready.
	draining []string
}

// endpointAddresses reads the addresses of one port of a Service from its EndpointSlices. IPv4 is used where a Service
// has both families, because both lead to the same pods.
func endpointAddresses(portName string, slices []discoveryv1.EndpointSlice) addresses {
	var v4, v6 addresses
	for i := range slices {
		switch s := &slices[i]; s.AddressType {
		case discoveryv1.AddressTypeIPv4:
			v4.add(portName, s)
		case discoveryv1.AddressTypeIPv6:
			v6.add(portName, s)
		}
	}
	if len(v4.ready)+len(v4.draining) == 0 {
		v4 = v6
	}
	return addresses{ready: sortedUnique(v4.ready), draining: sortedUnique(v4.draining)}
}

func (a *addresses) add(portName string, s *discoveryv1.EndpointSlice) {
	for _, p := range s.Ports {
		if p.Port == nil || deref(p.Name, "") != portName {
			continue
		}
		for _, e := range s.Endpoints {
			list := a.listFor(e.Conditions)
			if list == nil {
				continue
			}
			for _, ip := range e.Addresses {
				*list = append(*list, net.JoinHostPort(ip, fmt.Sprint(*p.Port)))
			}
		}
	}
}

// listFor reads the conditions as the API defines them: unknown counts as ready, and as not terminating.
func (a *addresses) listFor(c discoveryv1.EndpointConditions) *[]string {
	ready := deref(c.Ready, true)
	terminating := deref(c.Terminating, false)
	switch {
	case ready && !terminating:
		return &a.ready
	case terminating && deref(c.Serving, ready):
		return &a.draining
	}
	return nil
}

func deref[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

// endpoint is one address of a backend. It lives as long as the backend has the address.
type endpoint struct {
	address   string
	inFlight  atomic.Int64
	answered  atomic.Bool // whether it ever gave an answer
	health    health
	transport *http.Transport
	raw       *fastpath.Upstream // nil for one that does not speak HTTP/1.1
}

// closeIdle closes the connections that serve no request.
func (e *endpoint) closeIdle() {
	e.transport.CloseIdleConnections()
	if e.raw != nil {
		e.raw.CloseIdle()
	}
}

// endpointSet is the endpoints of a backend at one time.
type endpointSet struct {
	ready, draining []*endpoint
	// replaced is closed when a newer set is in place.
	replaced chan struct{}
}

// backend is a port of a Service as the data plane sees it: its endpoints change without a new table.
type backend struct {
	key    BackendKey
	name   string // that of the key
	shared *sharedPlane
	// upstream is what the endpoints are reached with; nil without TLS.
	upstream *tls.Config
	set      atomic.Pointer[endpointSet]
	held     atomic.Int64 // requests that wait for an endpoint
	counts   backendCounts
	budget   retryBudget

	outliers     sync.Mutex   // guards what ejections remember
	lastEjection atomic.Int64 // Unix nanoseconds of the last end of an ejection; 0 if there was none
}

func newBackend(key BackendKey, shared *sharedPlane) *backend {
	b := &backend{key: key, name: key.String(), shared: shared}
	b.set.Store(&endpointSet{replaced: make(chan struct{})})
	return b
}

// update puts new addresses in place. Endpoints that stay keep their connections and counts; those that go finish
// their requests and close. Only one goroutine at a time may call it.
func (b *backend) update(a addresses) {
	old := b.set.Load()
	known := map[string]*endpoint{}
	for _, e := range slices.Concat(old.ready, old.draining) {
		known[e.address] = e
	}
	if sameAddresses(old.ready, a.ready) && sameAddresses(old.draining, a.draining) {
		return
	}
	take := func(list []string) []*endpoint {
		var out []*endpoint
		for _, address := range list {
			e := known[address]
			if e == nil {
				e = newEndpoint(address, b)
			}
			out = append(out, e)
		}
		return out
	}
	next := &endpointSet{ready: take(a.ready), draining: take(a.draining), replaced: make(chan struct{})}
	b.set.Store(next)
	close(old.replaced)
	b.reached(next.ready, known)
	for _, e := range next.ready {
		delete(known, e.address)
	}
	// A draining endpoint keeps no idle connection either: its server is about to close them.
	for _, e := range known {
		e.closeIdle()
	}
}

// reached tells of the endpoints that take requests from now on and did not before.
func (b *backend) reached(ready []*endpoint, before map[string]*endpoint) {
	now := time.Now()
	for _, e := range ready {
		if before[e.address] == nil {
			b.shared.signals.PodReached(e.address, signal.PodRouted, now)
		}
	}
}

// answered notes an answer of an endpoint; the first one is told to the signals.
func (b *backend) answered(e *endpoint, at time.Time) {
	if !e.answered.Load() && e.answered.CompareAndSwap(false, true) {
		b.shared.signals.PodReached(e.address, signal.PodAnswered, at)
	}
}

// retire lets the connections go once no table leads here. The endpoints stay: a request that read the table before is
// still served.
func (b *backend) retire() {
	set := b.set.Load()
	for _, e := range slices.Concat(set.ready, set.draining) {
		e.closeIdle()
	}
}

func sameAddresses(endpoints []*endpoint, list []string) bool {
	return slices.EqualFunc(endpoints, list, func(e *endpoint, a string) bool { return e.address == a })
}

// choose picks an endpoint for one request: of two at random, the one with fewer requests in flight. Those already
// tried are left out. It returns nil when there is none.
func (s *endpointSet) choose(tried []*endpoint) *endpoint {
	if e := lessLoaded(s.ready, tried); e != nil {
		return e
	}
	return lessLoaded(s.draining, tried)
}

func lessLoaded(list, tried []*endpoint) *endpoint {
	if len(tried) > 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(e *endpoint) bool { return slices.Contains(tried, e) })
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	i := rand.IntN(len(list))
	j := rand.IntN(len(list) - 1)
	if j >= i {
		j++
	}
	if list[j].inFlight.Load() < list[i].inFlight.Load() {
		return list[j]
	}
	return list[i]
}
