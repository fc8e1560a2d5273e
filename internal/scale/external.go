package scale

import (
	"context"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/labels"
)

// labelScaledObject is the label of KEDA's metrics, by which a plain HPA names one ScaledObject's.
const labelScaledObject = "scaledobject.keda.sh/name"

// ExternalMetrics implements signal.ExternalMetrics: the newest values of the triggers, under KEDA's names.
func (s *Scaler) ExternalMetrics(_ context.Context, namespace, name string, selector labels.Selector) ([]signal.ExternalValue, error) {
	var out []signal.ExternalValue
	for k, sub := range s.inNamespace(namespace) {
		set := map[string]string{labelScaledObject: k.name.Name}
		if k.kind == kindScaledJob {
			set = map[string]string{labelScaledJob: k.name.Name}
		}
		if !selector.Matches(labels.Set(set)) {
			continue
		}
		for _, src := range sub.feed() {
			out = appendNamed(out, src, name, set)
		}
	}
	return out, nil
}

func appendNamed(out []signal.ExternalValue, src *source, name string, set map[string]string) []signal.ExternalValue {
	readings, snap := src.appendTo(nil)
	for i, m := range snap.metrics {
		if i < len(readings) && m.Name == name && known(src.config, readings[i]) {
			out = append(out, signal.ExternalValue{Labels: set, Value: readings[i].Value, At: readings[i].At})
		}
	}
	return out
}

// known says that a reading is a value to show: cpu and memory are served by the resource metrics API.
func known(c trigger.Config, r decision.Reading) bool { return !resource(c.Type) && !r.At.IsZero() }

func (s *Scaler) inNamespace(namespace string) map[key]subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[key]subject{}
	for k, sub := range s.subjects {
		if k.name.Namespace == namespace {
			out[k] = sub
		}
	}
	return out
}
