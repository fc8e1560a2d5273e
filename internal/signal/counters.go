package signal

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// backendKey names what one data plane counts apart.
type backendKey struct {
	service types.NamespacedName
	port    int32
}

// counters turns what a data plane has counted into rates.
type counters struct {
	source TrafficSource
	last   map[backendKey]Traffic
	// lastAt is when the data plane was asked last; zero before.
	lastAt time.Time
}

// flow is what went to a Service between two readings.
type flow struct {
	inFlight, held, rate, errorRate float64
	latency                         Histogram
}

// read asks the data plane and adds what it counted since to the flows of the Services.
func (c *counters) read(now time.Time, flows map[types.NamespacedName]*flow) {
	all := c.source.Traffic()
	next := make(map[backendKey]Traffic, len(all))
	elapsed := now.Sub(c.lastAt).Seconds()
	known := !c.lastAt.IsZero() && elapsed > 0
	for _, t := range all {
		key := backendKey{t.Service, t.Port}
		next[key] = t
		f := flows[t.Service]
		if f == nil {
			f = &flow{}
			flows[t.Service] = f
		}
		f.inFlight += float64(t.InFlight)
		f.held += float64(t.Held)
		if known {
			// A backend that was not there before has counted from zero.
			f.count(t, c.last[key], elapsed)
		}
	}
	c.last, c.lastAt = next, now
}

// count adds the difference of two readings.
func (f *flow) count(now, before Traffic, elapsed float64) {
	f.rate += float64(grown(now.Requests, before.Requests)) / elapsed
	f.errorRate += float64(grown(now.Errors, before.Errors)) / elapsed
	latency := now.Latency
	latency.Sub(&before.Latency)
	f.latency.Add(&latency)
}

// grown is how much a counter grew. One that is lower than before has begun anew.
func grown(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// addTo adds a share of the flow to a workload's facts.
func (f *flow) addTo(facts *Facts, share float64) {
	facts.InFlight += f.inFlight * share
	facts.Held += f.held * share
	facts.Rate += f.rate * share
	facts.ErrorRate += f.errorRate * share
	latency := f.latency.scaled(share)
	facts.Latency.Add(&latency)
}
