package scale

import (
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
)

// TestDemandBeginsWithTheRequest: a start from zero is counted from the first request that waits, not from what a trigger
// read before, and not from the requests that came after.
func TestDemandBeginsWithTheRequest(t *testing.T) {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	before, first, later := at.Add(-time.Second), at, at.Add(300*time.Millisecond)
	read := []decision.Reading{{Value: 1, At: before}}
	for name, c := range map[string]struct {
		plan   decision.Plan
		held   []time.Time
		excess time.Time
		now    time.Time
		want   time.Time
	}{
		"a request that waits":         {decision.Plan{Metric: decision.FromHeldRequest}, []time.Time{first}, time.Time{}, later, first},
		"a metric asks as well":        {decision.Plan{Metric: 0}, []time.Time{first}, before, later, first},
		"more requests wait by now":    {decision.Plan{Metric: 0}, []time.Time{first, later}, before, later, first},
		"an earlier request was given": {decision.Plan{Metric: 0}, []time.Time{at.Add(-time.Minute), first}, before, later, first},
		"it runs already":              {decision.Plan{Metric: 0, From: 2}, []time.Time{first}, before, later, before},
		"no request waits":             {decision.Plan{Metric: 0}, []time.Time{at.Add(-time.Minute)}, before, later, before},
		"a message":                    {decision.Plan{Metric: 0}, nil, time.Time{}, later, before},
	} {
		t.Run(name, func(t *testing.T) {
			o := &object{wakes: true, memory: &memory{excess: c.excess}, plan: c.plan, readings: read}
			for _, h := range c.held {
				o.held(h)
			}
			if got := o.demandAt(c.now); !got.Equal(c.want) {
				t.Errorf("since %s before the request, want %s", at.Sub(got), at.Sub(c.want))
			}
		})
	}
}
