package waterfall

import (
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

// Act is one decision to run more pods of a workload.
type Act struct {
	Workload signal.Workload `json:"workload"`
	From     int32           `json:"from"`
	To       int32           `json:"to"`
	// Reason is one sentence with the numbers that were seen.
	Reason string `json:"reason"`
	// Demand is when the demand was observed that the decision answers; zero stands for Decided.
	Demand time.Time `json:"demandAt"`
	// Decided is when the decision was made.
	Decided time.Time `json:"decidedAt"`
	// Acted is when the API server accepted it; Began's callback fills it in.
	Acted time.Time `json:"actedAt"`
}

// Pod is what was seen of one new pod and when. A zero time: not yet.
type Pod struct {
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
	IP   string `json:"ip,omitempty"`

	Created time.Time `json:"createdAt,omitzero"`
	// Unplaced is when the scheduler first said that no node has room.
	Unplaced time.Time `json:"unplacedAt,omitzero"`
	Bound    time.Time `json:"boundAt,omitzero"`
	Started  time.Time `json:"startedAt,omitzero"`
	Ready    time.Time `json:"readyAt,omitzero"`
	Routed   time.Time `json:"routedAt,omitzero"`
	Answered time.Time `json:"answeredAt,omitzero"`
	// Gone is when the pod was deleted or ended.
	Gone time.Time `json:"goneAt,omitzero"`
	// Trouble is what keeps the pod from the next stage, as the scheduler or the kubelet says; empty: nothing known.
	Trouble string `json:"trouble,omitempty"`
}

// Stage is one step of a scale-up.
type Stage struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"durationNanoseconds"`
	// Running says that the stage has not ended; Duration is the time until now.
	Running bool `json:"running,omitempty"`
}

// The stages, in order.
const (
	StageSignal    = "signal"
	StageDecision  = "decision"
	StagePlacement = "placement"
	StageNode      = "node"
	StageStart     = "start"
	StageReady     = "ready"
	StageRouted    = "routed"
	StageAnswer    = "first answer"
)

// stageNames are all stages in order.
var stageNames = [...]string{
	StageSignal, StageDecision, StagePlacement, StageNode, StageStart, StageReady, StageRouted, StageAnswer,
}

// Scaleup is a scale-up as it stands at one time.
type Scaleup struct {
	Act
	// Stages of the pod that is furthest, in order; the last one may be running.
	Stages []Stage `json:"stages"`
	// Pods are the new pods seen so far.
	Pods []Pod `json:"pods"`
	// Stands is one sentence that says how far it is, or how it ended.
	Stands string `json:"stands"`
	// Over says that nothing more is waited for.
	Over bool `json:"over"`
	// Next is when it may be over without anything being seen; zero when Over.
	Next time.Time `json:"-"`
}

// Total is how long the stages took until now.
func (s Scaleup) Total() time.Duration {
	var sum time.Duration
	for _, stage := range s.Stages {
		sum += stage.Duration
	}
	return sum
}
