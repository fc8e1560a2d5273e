package usage

import (
	"context"
	"time"

	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/apimachinery/pkg/types"
)

// Source reads counters of containers.
type Source interface {
	// Read returns the newest sample of each container of these pods that it knows; a container that it does not know
	// is absent. It is called from one goroutine. The slices are valid until the next call.
	Read(ctx context.Context, pods []*topology.Pod) Reading
}

// Reading is what a Source read.
type Reading struct {
	Containers []Sample
	// Nodes is what whole nodes use, from sources that know. Of others it is what their pods use.
	Nodes []NodeSample
}

// Sample is what a container had used at one moment.
type Sample struct {
	Pod       types.UID
	Container string
	At        time.Time
	// CPU is the processor time since the container's start.
	CPU time.Duration
	// Memory is the working set in bytes.
	Memory uint64
}

// NodeSample is what a node had used at one moment.
type NodeSample struct {
	Node   string
	At     time.Time
	CPU    time.Duration
	Memory uint64
}
