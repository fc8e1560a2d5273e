package decision

import "time"

// ViewName is the name under which a running platform shows the Explanation of a workload.
const ViewName = "decision"

// Explanation is a plan and what it was made of, in a form for people and scripts.
type Explanation struct {
	// At is when it was decided.
	At time.Time `json:"at"`
	// Desired is the number of pods, Wanted what the demand asks for before bounds, windows and holds.
	Desired int32 `json:"desired"`
	Wanted  int32 `json:"wanted"`
	// Reason is one sentence with the numbers that were seen.
	Reason string `json:"reason"`
	// Limit says what keeps Desired from Wanted, and until when; empty: nothing.
	Limit string     `json:"limit,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	// Held says that pods are kept because a caller fails.
	Held bool `json:"held"`
	// Next is when the plan changes though no fact does; nil: never.
	Next *time.Time `json:"next,omitempty"`
	// Evidence is what each metric came to.
	Evidence []Evidence `json:"evidence"`
}

// Evidence is what was seen of one metric.
type Evidence struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit,omitempty"`
	// Value is the newest, Demand what counts of it and of the windows, Target what it is held against.
	Value  float64 `json:"value"`
	Demand float64 `json:"demand"`
	Target float64 `json:"target"`
	// Pods is how many it asks for.
	Pods   int32 `json:"pods"`
	Active bool  `json:"active"`
	// At is when the value was true; nil: it was never read.
	At *time.Time `json:"at"`
	// FailingSince is when reading it began to fail; nil: it did not.
	FailingSince *time.Time `json:"failingSince,omitempty"`
	Fallback     bool       `json:"fallback"`
}

// Explain puts a plan that was made at a time in words. It is pure.
func Explain(set *Settings, p *Plan, readings []Reading, at time.Time) Explanation {
	x := Explanation{
		At: at, Desired: p.Replicas, Wanted: p.Wanted, Reason: p.Reason(set), Limit: p.LimitText(set), Held: p.Limit == LimitHold,
		Until: known(p.Until), Next: known(p.Next), Evidence: []Evidence{},
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		e := Evidence{Demand: m.Demand, Pods: m.Pods, Active: m.Active, Fallback: m.Fallback}
		if i < len(set.Metrics) {
			e.Metric, e.Unit, e.Target = set.Metrics[i].Name, set.Metrics[i].Unit, set.Metrics[i].Target
		}
		if i < len(readings) {
			e.Value, e.At, e.FailingSince = readings[i].Value, known(readings[i].At), known(readings[i].FailingSince)
		}
		x.Evidence = append(x.Evidence, e)
	}
	return x
}

// known is nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
