package view

import (
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

// Facts is everything a view may know.
type Facts struct {
	Now       time.Time
	Workloads []Workload
	Hours     []Hours
	// Recent are the scale-ups of the timeline, the newest first.
	Recent []timeline.Record
}

// Workload is something that is scaled, and how it stands.
type Workload struct {
	// Object is what scales it, such as "ScaledObject", Namespace and Name its name.
	Object, Namespace, Name string
	// Workload is what is scaled.
	Workload signal.Workload
	// App is the page of the App it belongs to; empty for none.
	App string
	// Min and Max bound the number of pods.
	Min, Max int32

	// Decided says that there was a decision; what follows is its result.
	Decided bool
	// Replicas is how many pods it should have, From how many it has, Wanted what the demand asks for.
	Replicas, From, Wanted int32
	// Reason is one sentence with the numbers seen.
	Reason string
	// Limit says in words what keeps it from Wanted; Until when that ends by itself.
	Limit string
	Until time.Time
	// Held, Paused, Fallback, Unread, Resting and AtMost are what Limit is about.
	Held, Paused, Fallback, Unread, Resting, AtMost bool
	// Problem is what a person has to mend, such as two autoscalers on one workload; empty for none.
	Problem string
	// Conflict says that Problem is another autoscaler.
	Conflict bool
	Triggers []Trigger

	// Past is what was seen of it, oldest first.
	Past []Point
	// Running are the scale-ups under way.
	Running []Scaleup
	// Advice is what its use of CPU and memory says; nil where nothing is known.
	Advice *Advice
}

// ID is the object as addresses of pages name it.
func (w Workload) ID() string { return w.Namespace + "/" + w.Name }

// Trigger is one source of demand.
type Trigger struct {
	// Type as in the object, such as "rabbitmq", Metric the name of its number.
	Type, Metric string
	// Unit in words, such as "messages"; empty if not known.
	Unit string
	// Value is what was read last, Target what one pod takes, or what the value should be where Whole, or per cent of the
	// reservation where Percent.
	Value, Target  float64
	Whole, Percent bool
	// Pods is how many it asks for.
	Pods int32
	// Active says that it sees work, Pushing that the source tells by itself.
	Active, Pushing, Fallback bool
	// At is when Value was true; zero: it was never read.
	At time.Time
	// Failures is how many reads in a row failed, Error why the last one did.
	Failures int
	Error    string
	// Live is where its past is in the live facts.
	Live Live
}

// Live is which number of the live facts a trigger goes by.
type Live string

// The numbers; any other is the name of a lag.
const (
	LiveNone     Live = ""
	LiveInFlight Live = "in flight"
	LiveRate     Live = "rate"
	LiveCPU      Live = "cpu"
	LiveMemory   Live = "memory"
	LiveLag      Live = "lag"
)

// Point is what was seen of a workload at one time. Numbers that were not known are NaN.
type Point struct {
	At                           time.Time
	Ready, Desired               float64
	InFlight, Rate               float64
	CPU, CPUReserved             float64
	Memory, MemoryReserved, Pods float64
	Lags                         []signal.Lag
}

// Scaleup is a scale-up under way or over.
type Scaleup struct {
	At       time.Time
	From, To int32
	Reason   string
	Stages   []Stage
	// Stands says how far it is.
	Stands string
}

// Stage is a step of a scale-up.
type Stage struct {
	Name    string
	Took    time.Duration
	Running bool
}

// Advice is what is to be said of a workload's use.
type Advice struct {
	// Since is from when on is known.
	Since time.Time
	// CPU in cores and Memory in bytes: reserved and used on average, and used at most.
	CPU, Memory Used
	// Target is the CPU utilisation that would have met every rise; 0 where nothing can be said.
	Target float64
	// Enough is how many cores it would then have reserved on average.
	Enough float64
	// Text says it in one line.
	Text string
}

// Used is how much was reserved, used and used at most.
type Used struct{ Reserved, Mean, Peak float64 }

// Hours is a workload that office hours are kept for.
type Hours struct {
	Kind, Namespace, Name string
	Down                  bool
	Replicas, Original    int32
	Why                   string
	// Until is when that changes; zero: not foreseen.
	Until  time.Time
	LeftTo string
	Error  string
	// Saved is what was saved so far, in words; empty: nothing.
	Saved string
	// Zone and Up are the hours in which it is up; none where they cannot be drawn as a week.
	Zone string
	Up   []Period
}

// Period is a part of a day of the week.
type Period struct {
	Day      time.Weekday
	From, To time.Duration
}

// The states.
var (
	Steady      = web.OK("Steady")
	ScalingUp   = web.Busy("Scaling up")
	Starting    = web.Busy("Starting")
	ScalingDown = web.Busy("Scaling down")
	Waiting     = web.Busy("Waiting")
	Resting     = web.Off("At rest")
	AtMost      = web.Warn("At maximum")
	Held        = web.Warn("Held")
	Paused      = web.Off("Paused")
	OnFallback  = web.Warn("On fallback")
	Blind       = web.Warn("Blind")
	Conflict    = web.Bad("Conflict")
	Failing     = web.Bad("Failing")
	Reading     = web.OK("Read")
	Pushed      = web.OK("Pushed")
	Unread      = web.Busy("Not read")
	Up          = web.OK("Up")
	Down        = web.Off("Down")
)
