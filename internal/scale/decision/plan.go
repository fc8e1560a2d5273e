package decision

import "time"

// Plan is what to do now.
type Plan struct {
	// Replicas is how many pods the workload should have, From how many it has.
	Replicas, From int32
	// Wanted is what the demand asks for, before windows, policies, bounds and holds.
	Wanted int32
	// Metric is the index in Settings.Metrics of what asks for Wanted; FromFormula, FromHeldRequest or FromNothing.
	Metric int
	// Demand is the value of that metric that counts, Target what it is held against.
	Demand, Target float64
	// Active says that there is work.
	Active bool
	// Limit is what keeps Replicas from Wanted, or the workload from zero.
	Limit Limit
	// Until is when Limit ends by itself; zero: it does not, or there is none.
	Until time.Time
	// Failing is the caller for which pods are kept, where Limit is LimitHold.
	Failing *Failing
	// Unread says that a metric cannot be read, and that its last value counts or nothing is known of it.
	Unread bool
	// Fallback says that the fallback counts for a metric.
	Fallback bool
	// FormulaError is why the formula gave nothing; nil otherwise.
	FormulaError error
	// Next is when the plan changes though no fact does; zero: never.
	Next time.Time
	// Metrics has what each metric came to, in the order of Settings.Metrics. It is valid until the next decision.
	Metrics []MetricPlan
}

// The values of Plan.Metric that are no index.
const (
	FromNothing     = -1
	FromFormula     = -2
	FromHeldRequest = -3
)

// MetricPlan is what a metric came to.
type MetricPlan struct {
	// Demand is the value that counts.
	Demand float64
	// Pods is how many it asks for.
	Pods int32
	// Active says that it sees work.
	Active bool
	// Unread, Fallback are as in Plan.
	Unread, Fallback bool
	// Failures is how many count towards the fallback.
	Failures int32
}

// Limit is what keeps a plan from what is wanted.
type Limit uint8

// The limits.
const (
	LimitNone Limit = iota
	LimitMin
	LimitMax
	// LimitRateUp and LimitRateDown are policies of Rules.
	LimitRateUp
	LimitRateDown
	// LimitStableUp and LimitStableDown are the stabilisation windows of Rules.
	LimitStableUp
	LimitStableDown
	// LimitCooldown keeps a workload without work from zero or its idle count.
	LimitCooldown
	// LimitHold keeps pods because a caller fails.
	LimitHold
	// LimitUnread keeps pods because a metric cannot be read.
	LimitUnread
	// LimitPaused, LimitPausedIn and LimitPausedOut are annotations.
	LimitPaused
	LimitPausedIn
	LimitPausedOut
)
