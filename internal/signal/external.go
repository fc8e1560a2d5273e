package signal

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// ExternalMetrics serves values by name, for HorizontalPodAutoscalers with metrics of type External. It is what answers
// external.metrics.k8s.io; scaling registers its triggers' values here under the names that KEDA gives them.
type ExternalMetrics interface {
	// ExternalMetrics returns the values of a metric in a namespace whose labels a selector takes; none when there is no
	// such metric. An error is shown to who asked.
	ExternalMetrics(ctx context.Context, namespace, name string, selector labels.Selector) ([]ExternalValue, error)
}

// ExternalValue is one value of an external metric.
type ExternalValue struct {
	Labels map[string]string
	Value  float64
	// At is when the value was observed, Window the time before that it covers; 0 for a value of a moment.
	At     time.Time
	Window time.Duration
}

// externals are those who serve external metrics.
type externals struct {
	mu  sync.RWMutex
	all []ExternalMetrics
}

// AddExternal adds one who serves external metrics.
func (s *Store) AddExternal(m ExternalMetrics) {
	if s == nil {
		return
	}
	s.externals.mu.Lock()
	defer s.externals.mu.Unlock()
	s.externals.all = append(s.externals.all, m)
}

// External returns the values of an external metric: those of the first who knows it.
func (s *Store) External(ctx context.Context, namespace, name string, selector labels.Selector) ([]ExternalValue, error) {
	if s == nil {
		return nil, nil
	}
	s.externals.mu.RLock()
	all := s.externals.all
	s.externals.mu.RUnlock()
	for _, m := range all {
		if values, err := m.ExternalMetrics(ctx, namespace, name, selector); err != nil || len(values) > 0 {
			return values, err
		}
	}
	return nil, nil
}
