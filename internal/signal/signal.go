package signal

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// KindGateway is the kind of a Workload that stands for the data planes in a Call; it has no name.
const KindGateway = "Gateway"

// Workload names an object that runs pods and can be scaled, such as a Deployment.
type Workload struct{ Kind, Namespace, Name string }

// String is "Deployment shop/storefront".
func (w Workload) String() string { return w.Kind + " " + w.Namespace + "/" + w.Name }

// Traffic is what a data plane has counted of one backend since it started: counters only grow.
type Traffic struct {
	Service types.NamespacedName
	Port    int32
	// Requests is how many were answered, by the backend or, where it could not, by the data plane.
	Requests uint64
	// Errors is how many of them were answered with 500 or above, or not at all.
	Errors uint64
	// InFlight is how many are being answered, held ones included.
	InFlight int64
	// Held is how many wait because the backend has no pod that is ready.
	Held int64
	// Latency counts the times from a request's header to its answer's header.
	Latency Histogram
	// LastSuccess is when the backend last gave an answer below 500; zero if never.
	LastSuccess time.Time
}

// TrafficSource is a data plane. Traffic is called about once a second while somebody reads, from one goroutine.
type TrafficSource interface{ Traffic() []Traffic }

// LatencyBounds are the upper bounds of a Histogram's buckets, in seconds, about a factor of 1.5 apart.
var LatencyBounds = [...]float64{
	.0005, .00075, .001, .0015, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .15, .2, .3, .5, .75,
	1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60,
}

// Histogram counts durations in fixed buckets, so that two can be added and subtracted. The last bucket takes all that
// is longer than every bound.
type Histogram struct {
	Buckets [len(LatencyBounds) + 1]uint64
	// Sum of all durations, in seconds.
	Sum float64
}

// Facts is what is known of a workload at one second. A value that nobody tells is zero; the times say which.
type Facts struct {
	// At is the second these facts describe.
	At time.Time

	// TrafficAt is when the traffic was observed; zero when no data plane leads here.
	TrafficAt time.Time
	// InFlight and Held are as in Traffic, summed over the workload's Services.
	InFlight, Held float64
	// Rate and ErrorRate are requests, and failed ones, per second during the last second, or since the tick before where
	// nobody had read for a while.
	Rate, ErrorRate float64
	// Latency of the requests answered during the last second. What History returns of former seconds counts to within
	// one part in 2,000.
	Latency Histogram

	// UsageAt is when the pods' use was observed; zero when not known.
	UsageAt time.Time
	// CPU is the cores used, Memory the bytes of the working set, summed over the pods.
	CPU, Memory float64
	// CPUReserved and MemoryReserved are the pods' requests, summed.
	CPUReserved, MemoryReserved float64

	// Desired is how many pods the workload's object asks for.
	Desired int32
	// Pods is how many pods the workload has that are not over, Ready how many of them are ready.
	Pods, Ready int32

	// Lags is how much work waits in the sources of the workload's triggers, in order of their names.
	Lags []Lag
}

// Lag is how much work waits in the source of one trigger, such as the messages of a queue.
type Lag struct {
	Trigger string
	Value   float64
	// At is when it was read from the source.
	At time.Time
}

// Lag returns what waits in the source of a trigger; false when it has not been told.
func (f Facts) Lag(trigger string) (Lag, bool) {
	for _, l := range f.Lags {
		if l.Trigger == trigger {
			return l, true
		}
	}
	return Lag{}, false
}

// PodStage is a step of a new pod's way to its first answer that only a data plane sees.
type PodStage int

// The stages a data plane sees.
const (
	// PodRouted: requests may be sent to the pod from now on.
	PodRouted PodStage = iota
	// PodAnswered: the pod gave its first answer.
	PodAnswered
)

// Event wakes readers of the store.
type Event struct {
	// Held is the Service that has requests waiting and no pod ready; zero for the tick of the second.
	Held types.NamespacedName
	At   time.Time
}

// Call says that pods of one workload, or a gateway, send requests to another workload.
type Call struct {
	Caller, Callee Workload
	// LastSeen is when such traffic was seen last.
	LastSeen time.Time
}
