package signal

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Backend is a workload behind a Service.
type Backend struct {
	Workload Workload
	// Share of the Service's traffic that it takes; the shares of a Service's backends sum to 1.
	Share float64
}

// Replicas is how many pods a workload has and what they reserve.
type Replicas struct {
	// Desired is how many pods its object asks for.
	Desired int32
	// Pods is how many pods it has that are not over, Ready how many of them are ready.
	Pods, Ready int32
	// CPUReserved (cores) and MemoryReserved (bytes) are the pods' requests, summed.
	CPUReserved, MemoryReserved float64
}

// Topology says which workloads there are and what leads to them. Its methods are called at the same time from several
// goroutines and return at once.
type Topology interface {
	// Backends lists the workloads behind a Service, also while they have no pod.
	Backends(service types.NamespacedName) []Backend
	// Each calls f with every workload.
	Each(f func(Workload, Replicas))
}

// Usage is what the pods of a workload use together.
type Usage struct {
	// At is when the oldest of its parts was observed.
	At time.Time
	// CPU in cores, Memory in bytes of the working set.
	CPU, Memory float64
}

// UsageReader reads what pods use. Usage is called from one goroutine, once a second while somebody reads. Workloads
// whose use is not known are absent.
type UsageReader interface {
	Usage(ctx context.Context) map[Workload]Usage
}

// CallReader finds who calls a workload, beyond what the data planes tell.
type CallReader interface {
	Callers(ctx context.Context, callee Workload) ([]Call, error)
}

// FixedTopology is a Topology that does not change, for tests and replays.
type FixedTopology struct {
	Services  map[types.NamespacedName][]Backend
	Workloads map[Workload]Replicas
}

// Backends implements Topology.
func (t FixedTopology) Backends(service types.NamespacedName) []Backend { return t.Services[service] }

// Each implements Topology.
func (t FixedTopology) Each(f func(Workload, Replicas)) {
	for w, r := range t.Workloads {
		f(w, r)
	}
}
