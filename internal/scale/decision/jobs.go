package decision

import (
	"fmt"
	"math"
	"time"
)

// Strategy says how many Jobs are started for the work that waits.
type Strategy uint8

// KEDA's strategies (scale_jobs.go of KEDA 2.21).
const (
	// DefaultStrategy: the work, less the Jobs that run. For queues that count what is being worked on.
	DefaultStrategy Strategy = iota
	// CustomStrategy: the work, less a deduction and a share of the Jobs that run.
	CustomStrategy
	// AccurateStrategy: the work, less the Jobs whose pods do not run yet. For queues that count only what waits.
	AccurateStrategy
	// EagerStrategy: as many as there may be.
	EagerStrategy
)

// Combine makes one number of those of several triggers.
type Combine uint8

// The ways to combine triggers.
const (
	CombineMax Combine = iota
	CombineMin
	CombineAvg
	CombineSum
)

// JobSettings is what a ScaledJob asks for.
type JobSettings struct {
	// Min and Max bound the Jobs that run.
	Min, Max int32
	Strategy Strategy
	// Deduction and RunningShare are those of CustomStrategy.
	Deduction    int32
	RunningShare float64
	Combine      Combine
	// Metrics are the triggers'; each trigger has one.
	Metrics []Metric
	// Grace is how long a Job may take to take its work out of the source. Sources are looked at far more often than a
	// Job starts, and a Job this young counts as one that has not begun.
	Grace time.Duration
	// Paused starts nothing.
	Paused bool
}

// JobFacts is what is known at one moment.
type JobFacts struct {
	Readings []Reading
	// Running is how many Jobs are not finished, Pending how many of them have no pod that runs, Young how many of them
	// are younger than Grace.
	Running, Pending, Young int32
}

// JobPlan is what to do now.
type JobPlan struct {
	// Start is how many Jobs to start.
	Start int32
	// Active says that there is work. Work is how much, Wanted how many Jobs it asks for before what runs is taken off.
	Active bool
	Work   float64
	Wanted int32
	// Unread says that a trigger cannot be read; it counts as without work.
	Unread bool
	// Reason in one sentence.
	Reason string
}

// DecideJobs says how many Jobs to start now. It remembers nothing: what was started is in the facts.
func DecideJobs(set *JobSettings, f *JobFacts) JobPlan {
	plan := combine(set, f)
	if set.Paused {
		plan.Reason = "paused by annotation"
		return plan
	}
	room := max(0, set.Max-f.Running)
	switch {
	case f.Running < set.Min:
		plan.Start = min(set.Min-f.Running, room)
		plan.Reason = fmt.Sprintf("%d of at least %d Jobs run", f.Running, set.Min)
	case plan.Active:
		plan.Start = min(max(0, started(set, f, plan)), room)
		plan.Reason = fmt.Sprintf("%s of work asks for %d Jobs; %d run, %d of them have not begun", number(plan.Work), plan.Wanted, f.Running, f.waiting())
	default:
		plan.Reason = "no trigger sees work"
	}
	return plan
}

// waiting is how many Jobs have not taken their work yet.
func (f *JobFacts) waiting() int32 { return min(f.Running, max(f.Pending, f.Young)) }

// started applies the strategy. KEDA counts the Jobs that run, and the highest number, without the lowest number.
func started(set *JobSettings, f *JobFacts, plan JobPlan) int32 {
	running, most := f.Running-set.Min, set.Max-set.Min
	waiting := f.waiting()
	work := int32(min(math.Ceil(plan.Work), math.MaxInt32))
	switch set.Strategy {
	case CustomStrategy:
		young := float64(waiting) * (1 - min(set.RunningShare, 1))
		n := plan.Wanted - set.Deduction - int32(float64(running)*set.RunningShare) - int32(math.Ceil(young))
		return min(n, most, work)
	case AccurateStrategy:
		if plan.Wanted+running-waiting > most {
			return min(most-running, work)
		}
		return min(plan.Wanted-waiting, work)
	case EagerStrategy:
		return min(most-running-waiting, plan.Wanted)
	}
	return min(plan.Wanted-running, work)
}

// combine makes one demand of those of all triggers (IsScaledJobActive of KEDA's scaledjob/metrics.go).
func combine(set *JobSettings, f *JobFacts) JobPlan {
	var plan JobPlan
	var wanted float64
	active := 0
	most := float64(set.Max - set.Min)
	for i := range set.Metrics {
		if i >= len(f.Readings) || f.Readings[i].At.IsZero() || !f.Readings[i].FailingSince.IsZero() {
			plan.Unread = true
			continue
		}
		r := &f.Readings[i]
		if !r.Active || set.Metrics[i].Target <= 0 {
			continue
		}
		active++
		pods := min(r.Value/set.Metrics[i].Target, most)
		switch set.Combine {
		case CombineAvg, CombineSum:
			plan.Work += r.Value
			wanted += pods
		case CombineMin:
			if active == 1 || r.Value < plan.Work {
				plan.Work, wanted = r.Value, pods
			}
		default:
			if r.Value > plan.Work {
				plan.Work, wanted = r.Value, pods
			}
		}
	}
	if set.Combine == CombineAvg && active > 0 {
		plan.Work /= float64(active)
		wanted /= float64(active)
	}
	plan.Active = active > 0
	plan.Wanted = ceil(min(wanted, most))
	return plan
}
