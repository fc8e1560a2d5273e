package traffic

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/types"
)

// histogram counts durations in the buckets of signal.LatencyBounds. The zero value is empty.
type histogram struct {
	buckets [len(signal.LatencyBounds) + 1]atomic.Uint64
	nanos   atomic.Int64
}

// boundNanos are signal.LatencyBounds in nanoseconds.
var boundNanos = func() (nanos [len(signal.LatencyBounds)]int64) {
	for i, s := range signal.LatencyBounds {
		nanos[i] = int64(s * float64(time.Second))
	}
	return nanos
}()

func (h *histogram) observe(d time.Duration) {
	bucket, _ := slices.BinarySearch(boundNanos[:], int64(d))
	h.buckets[bucket].Add(1)
	h.nanos.Add(int64(d))
}

// addTo adds what was counted so far.
func (h *histogram) addTo(sum *signal.Histogram) {
	for i := range h.buckets {
		sum.Buckets[i] += h.buckets[i].Load()
	}
	sum.Sum += time.Duration(h.nanos.Load()).Seconds()
}

// Traffic implements signal.TrafficSource: what the gateway has counted of every backend that a route sends requests
// to, in order of namespace, service and port.
func (g *Gateway) Traffic() []signal.Traffic {
	g.remember(time.Now())
	backends := g.backendList()
	all := make([]signal.Traffic, 0, len(backends))
	for _, b := range backends {
		all = append(all, b.traffic())
	}
	slices.SortFunc(all, func(a, b signal.Traffic) int {
		return cmp.Or(strings.Compare(a.Service.Namespace, b.Service.Namespace),
			strings.Compare(a.Service.Name, b.Service.Name), cmp.Compare(a.Port, b.Port))
	})
	return mergeTraffic(all)
}

func (b *backend) traffic() signal.Traffic {
	t := signal.Traffic{
		Service:  types.NamespacedName{Namespace: b.key.Namespace, Name: b.key.Service},
		Port:     b.key.Port,
		Requests: b.counts.requests.Load(),
		Errors:   b.counts.errors.Load(),
		InFlight: b.counts.inFlight.Load(),
		Held:     b.held.Load(),
	}
	b.counts.latency.addTo(&t.Latency)
	if at := b.counts.lastSuccess.Load(); at > 0 {
		t.LastSuccess = time.Unix(0, at)
	}
	return t
}

// mergeTraffic adds up neighbours of one Service and port: backends that are spoken to in different protocols.
func mergeTraffic(sorted []signal.Traffic) []signal.Traffic {
	merged := sorted[:0]
	for _, t := range sorted {
		if n := len(merged); n > 0 && merged[n-1].Service == t.Service && merged[n-1].Port == t.Port {
			addTraffic(&merged[n-1], &t)
			continue
		}
		merged = append(merged, t)
	}
	return merged
}

func addTraffic(sum, t *signal.Traffic) {
	sum.Requests += t.Requests
	sum.Errors += t.Errors
	sum.InFlight += t.InFlight
	sum.Held += t.Held
	for i, n := range t.Latency.Buckets {
		sum.Latency.Buckets[i] += n
	}
	sum.Latency.Sum += t.Latency.Sum
	if t.LastSuccess.After(sum.LastSuccess) {
		sum.LastSuccess = t.LastSuccess
	}
}
