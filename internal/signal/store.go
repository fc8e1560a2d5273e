package signal

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Store holds the live facts. Its methods may be called at the same time from anywhere; on a nil Store those that tell
// do nothing and those that ask know nothing.
type Store struct {
	pods podStages
}

// AddTraffic adds a data plane to ask each second.
func (s *Store) AddTraffic(TrafficSource) {}

// Held says at once that a request waits for a Service none of whose pods is ready. It does not block.
func (s *Store) Held(types.NamespacedName) {}

// PodReached notes when a data plane saw a pod reach a stage; address is "ip:port". Only the first time
// counts, until PodForget.
func (s *Store) PodReached(address string, stage PodStage, at time.Time) {
	if s != nil {
		s.pods.reached(address, stage, at)
	}
}

// SetLag tells how much work waits in the source of one trigger of a workload, such as the messages of a queue.
func (s *Store) SetLag(w Workload, trigger string, value float64, at time.Time) {}

// Facts are the newest facts of a workload; false when nothing is known of it.
func (s *Store) Facts(w Workload) (Facts, bool) { return Facts{}, false }

// History returns the facts of a workload since a time, one per second, oldest first, as far back as they are kept.
func (s *Store) History(w Workload, since time.Time) []Facts { return nil }

// Workloads lists the workloads that facts are known of, in order.
func (s *Store) Workloads() []Workload { return nil }

// Subscribe returns events until ctx ends: a tick each second, after the facts of that second are in place, and one at
// once when a request is held. A reader that lags behind loses ticks, never a held request.
func (s *Store) Subscribe(ctx context.Context) <-chan Event { return nil }

// Callers lists who calls a workload, as far as traffic shows it.
func (s *Store) Callers(ctx context.Context, callee Workload) ([]Call, error) { return nil, nil }
