package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
	"github.com/escale-dev/escale/internal/signal"
)

// TypeRequests is the type of the trigger that reads the gateway: requests in flight, or requests per second, of the
// workload. It is Escale's own; KEDA has none. Its metadata:
//
//	metric                 concurrency (requests in flight, the default) or rate (requests per second)
//	targetValue            requests for each replica, above 0
//	activationTargetValue  at or below this, the workload may be at zero; 0 unless set
const TypeRequests = "requests"

var requestFields = []schema.Field{
	{Names: []string{"metric"}, From: "m", Default: "concurrency", Allowed: []string{"concurrency", "rate"}},
	{Names: []string{"targetValue"}, Kind: schema.Float, From: "m"},
	{Names: []string{"activationTargetValue"}, Kind: schema.Float, From: "m", Default: "0"},
}

// requestsSource reads what the gateway sees.
type requestsSource struct {
	*probe
	config Config
	// held is when a request began to wait that the facts may not show yet, in Unix nanoseconds.
	held atomic.Int64
}

// newRequests reads the requests that the gateway sees for the workload. A request that waits for a pod counts as one
// in flight, so that the first request to a workload at zero is demand.
func newRequests(c Config) (Source, error) {
	v, err := schema.ResolveFields(requestFields, schema.Input{Metadata: c.Metadata, Env: c.Env, Auth: c.Auth})
	if err != nil {
		return nil, err
	}
	if len(v.Unknown) > 0 {
		return nil, fmt.Errorf("unknown metadata %q; this type reads metric, targetValue and activationTargetValue", strings.Join(v.Unknown, ", "))
	}
	metric, err := c.metric("requests-"+v.Text("metric"), "targetValue", v.Float("targetValue"))
	if err != nil {
		return nil, err
	}
	s := &requestsSource{probe: c.probe(metric, v), config: c}
	s.ask = func(ctx context.Context) (sample, error) {
		facts, ok := c.Signals.Facts(c.Workload)
		held := s.heldSince()
		waiting := facts.Held > 0 || held.After(facts.TrafficAt)
		if (!ok || facts.TrafficAt.IsZero()) && !waiting {
			return sample{}, errors.Join(fmt.Errorf("no gateway leads to %s; give it an HTTPRoute", c.Workload), ctx.Err())
		}
		got := sample{value: demand(v.Text("metric"), facts), at: facts.TrafficAt}
		if held.After(got.at) {
			got.value, got.at = max(got.value, 1), held
		}
		// Short requests are over before anyone counts them in flight, and are work all the same.
		activation := v.Float("activationTargetValue")
		got.active = waiting || got.value > activation || activation == 0 && facts.Rate > 0
		return got, ctx.Err()
	}
	return s, nil
}

// Watch tells of each second's facts, and at once of a request that begins to wait for a pod.
func (s *requestsSource) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	if s.config.Signals == nil {
		return ErrNoPush
	}
	changed()
	for event := range s.config.Signals.Subscribe(ctx) {
		if event.Held.Name != "" {
			if !s.leadsHere(event.Held) {
				continue
			}
			s.held.Store(event.At.UnixNano())
		}
		changed()
	}
	return nil
}

// heldSince is when a request began to wait last; zero if none did.
func (s *requestsSource) heldSince() time.Time {
	if nanos := s.held.Load(); nanos != 0 {
		return time.Unix(0, nanos)
	}
	return time.Time{}
}

// leadsHere reports whether the workload is behind a Service.
func (s *requestsSource) leadsHere(service types.NamespacedName) bool {
	for _, backend := range s.config.Signals.Backends(service) {
		if backend.Workload == s.config.Workload {
			return true
		}
	}
	return false
}

func demand(metric string, facts signal.Facts) float64 {
	if metric == "rate" {
		return facts.Rate
	}
	// The time that the requests of the last second took in all is how many were in flight on average (Little's law):
	// what is counted at one moment misses short ones.
	return max(facts.InFlight, facts.Latency.Sum)
}
