package decision

import "time"

// Settings is what an object asks for, with every default in place. It is not changed by a decision, and a State notices
// by its address when it is replaced.
type Settings struct {
	// Min and Max bound the number of pods. With Min 0 a workload without work goes to zero.
	Min, Max int32
	// Idle is the number of pods without work, below Min; nil: Min.
	Idle *int32
	// Cooldown is how long after the last work the workload goes to zero or Idle.
	Cooldown time.Duration
	// InitialCooldown is how long after Created a workload that never had work is left alone.
	InitialCooldown time.Duration
	Created         time.Time
	// Up and Down bound how fast pods are added and taken away.
	Up, Down Rules
	// Metrics are held against the readings of Facts, in the same order.
	Metrics []Metric
	// Formula makes one metric of all that are no Resource; nil: each counts for itself.
	Formula *Formula
	// Fallback stands in for metrics that cannot be read; nil: their last value does.
	Fallback *Fallback
	// FailurePeriod is how long a source fails for each failure that counts towards the fallback; see DefaultFailurePeriod.
	FailurePeriod time.Duration
	// Pause is what annotations ask for.
	Pause Pause
	// ForceActive keeps the workload from zero without work.
	ForceActive bool
	// MaxHold bounds how long a failing caller keeps pods from being taken away.
	MaxHold time.Duration
}

// The defaults of Settings.
const (
	DefaultMax           = 100
	DefaultCooldown      = 5 * time.Minute
	DefaultStabilization = 5 * time.Minute
	// DefaultTolerance is that of the HPA: within a tenth of the target nothing changes.
	DefaultTolerance = 0.1
	// DefaultFailurePeriod is how often KEDA counts a failure: once for each sync of the HPA.
	DefaultFailurePeriod = 15 * time.Second
	DefaultMaxHold       = 30 * time.Minute
)

// Kind says how a value becomes a number of pods.
type Kind uint8

// The kinds, with their names in Kubernetes' autoscaling/v2.
const (
	// PerPod is AverageValue: each pod takes Target of the value.
	PerPod Kind = iota
	// Whole is Value: the value should be Target, and changes in proportion to the pods.
	Whole
	// Utilization: the value is the percentage used of what the pods reserve, and should be Target.
	Utilization
)

// Metric is a number the workload is scaled by.
type Metric struct {
	// Name such as "s0-rabbitmq-orders".
	Name string
	// Trigger is the name that a formula uses; it may be empty.
	Trigger string
	// Type of the trigger, such as "cron", for reasons of metrics without a name or a unit; it may be empty.
	Type string
	// Unit in words, such as "requests in flight", for reasons; it may be empty.
	Unit   string
	Kind   Kind
	Target float64
	// Resource marks cpu and memory: use of pods that are there. It neither wakes a workload nor is in a formula, and has
	// no fallback.
	Resource bool
	// Short and Long are the windows of the package comment; both 0: the newest value counts. Each must hold less than
	// MaxSamples seconds.
	Short, Long time.Duration
}

// Select says which of several policies counts.
type Select uint8

// The values of selectPolicy.
const (
	SelectMax Select = iota
	SelectMin
	SelectDisabled
)

// Rules bound the changes in one direction.
type Rules struct {
	// Stabilization is how far back recommendations count: the highest when taking away, the lowest when adding.
	Stabilization time.Duration
	// Tolerance is the share of the target within which nothing changes.
	Tolerance float64
	Select    Select
	// Policies limit the change per period; none: no limit.
	Policies []Policy
}

// Policy limits the change within a period.
type Policy struct {
	// Percent says that Value is a percentage of the pods at the start of the period, not a number of pods.
	Percent bool
	Value   int32
	Period  time.Duration
}

// Fallback stands in for metrics that cannot be read.
type Fallback struct {
	// Threshold is how many failures are borne.
	Threshold int32
	Replicas  int32
	Behavior  FallbackBehavior
}

// FallbackBehavior says how Replicas and the present number make a number of pods.
type FallbackBehavior uint8

// The behaviours of KEDA's fallback.
const (
	// Static is Replicas.
	Static FallbackBehavior = iota
	// Current is the present number.
	Current
	// CurrentIfHigher is the higher of the two.
	CurrentIfHigher
	// CurrentIfLower is the lower of the two.
	CurrentIfLower
	// InFormula gives nil to the formula for what cannot be read; Replicas counts where the formula gives nil.
	InFormula
)

// Pause is what annotations ask for.
type Pause struct {
	// All keeps the workload as it is.
	All bool
	// Replicas keeps it at a number; nil: none.
	Replicas *int32
	// In and Out keep pods from being taken away and added.
	In, Out bool
}

// Facts is what is known at one moment.
type Facts struct {
	Now time.Time
	// Replicas is what the workload's scale asks for, Pods how many pods there are, Ready how many of them are ready.
	Replicas, Pods, Ready int32
	// Readings are in the order of Settings.Metrics.
	Readings []Reading
	// Held says that a request waits and no pod is ready.
	Held bool
	// CallersKnown says that the callers of the workload were looked at, which is needed only before pods are taken away
	// and while State.Held. Failing is the caller that fails; nil: none.
	CallersKnown bool
	Failing      *Failing
}

// Reading is the newest that is known of a metric.
type Reading struct {
	Value float64
	// Active says that the value is above the activation threshold.
	Active bool
	// At is when the value was true; zero: it was never read.
	At time.Time
	// FailingSince is when reading it began to fail; zero: the last read succeeded.
	FailingSince time.Time
}

// Failing is a caller of the workload that fails.
type Failing struct {
	// Caller such as "Deployment shop/storefront", and Why in words, such as "has no pod that is ready".
	Caller, Why string
}
