package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	p := c.probe(metric, v)
	p.ask = func(ctx context.Context) (sample, error) {
		facts, ok := c.Signals.Facts(c.Workload)
		if !ok || facts.TrafficAt.IsZero() {
			return sample{}, errors.Join(fmt.Errorf("no gateway leads to %s; give it an HTTPRoute", c.Workload), ctx.Err())
		}
		value := demand(v.Text("metric"), facts)
		active := value > v.Float("activationTargetValue") || facts.Held > 0
		return sample{value: value, active: active, at: facts.TrafficAt}, ctx.Err()
	}
	return p, nil
}

func demand(metric string, facts signal.Facts) float64 {
	if metric == "rate" {
		return facts.Rate
	}
	return facts.InFlight
}
