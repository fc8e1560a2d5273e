package scale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/signal"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
)

// target is a workload that is scaled.
type target struct {
	gvk             schema.GroupVersionKind
	resource        schema.GroupVersionResource
	namespace, name string
}

func (t target) workload() signal.Workload { return workloadOf(t.gvk.Kind, t.namespace, t.name) }

// watched says that an informer tells how many pods the target has; others are asked.
func (t target) watched() bool {
	return t.gvk.Group == appsv1.GroupName && (t.gvk.Kind == "Deployment" || t.gvk.Kind == "StatefulSet")
}

// kind is as KEDA writes it into a status: "apps/v1.Deployment".
func (t target) kind() string {
	return t.gvk.GroupVersion().String() + "." + t.gvk.Kind
}

// observation is what was seen of a workload.
type observation struct {
	// replicas is what its spec asks for, pods how many there are, ready how many of them are ready.
	replicas, pods, ready int32
	at                    time.Time
}

// askEvery is how often the scale of a target that no informer watches is asked for.
const askEvery = 5 * time.Second

// scaleOf asks for the scale of a target.
func (s *Scaler) scaleOf(ctx context.Context, t target) (observation, error) {
	got, err := s.scales.Scales(t.namespace).Get(ctx, t.resource.GroupResource(), t.name, metav1.GetOptions{})
	if err != nil {
		return observation{}, fmt.Errorf("reading the scale of %s %q: %w", t.gvk.Kind, t.name, err)
	}
	return observation{replicas: got.Spec.Replicas, pods: got.Status.Replicas, ready: got.Status.Replicas, at: s.now()}, nil
}

// setScale writes a number of pods.
func (s *Scaler) setScale(ctx context.Context, t target, replicas int32) error {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, err := s.scales.Scales(t.namespace).Patch(ctx, t.resource, t.name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldOwner})
	if err != nil {
		return fmt.Errorf("scaling %s %q to %d: %w", t.gvk.Kind, t.name, replicas, err)
	}
	return nil
}

// fieldOwner is the scaler's name in managed fields.
const fieldOwner = "escale-scale"

// observe keeps what an informer shows of Deployments and StatefulSets.
func (s *Scaler) observe(kind string) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.saw(kind, o) },
		UpdateFunc: func(_, o any) { s.saw(kind, o) },
		DeleteFunc: func(o any) {
			if lost, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = lost.Obj
			}
			if m, ok := o.(metav1.Object); ok {
				s.mu.Lock()
				delete(s.observed, workloadOf(kind, m.GetNamespace(), m.GetName()))
				s.mu.Unlock()
			}
		},
	}
}

func (s *Scaler) saw(kind string, o any) {
	var w signal.Workload
	var seen observation
	switch o := o.(type) {
	case *appsv1.Deployment:
		w = workloadOf(kind, o.Namespace, o.Name)
		seen = observation{replicas: orDefault(o.Spec.Replicas, 1), pods: o.Status.Replicas, ready: o.Status.ReadyReplicas}
	case *appsv1.StatefulSet:
		w = workloadOf(kind, o.Namespace, o.Name)
		seen = observation{replicas: orDefault(o.Spec.Replicas, 1), pods: o.Status.Replicas, ready: o.Status.ReadyReplicas}
	default:
		return
	}
	s.mu.Lock()
	before := s.observed[w]
	s.observed[w] = seen
	o2 := s.byWorkload[w]
	s.mu.Unlock()
	if o2 != nil && before.replicas != seen.replicas {
		s.changed(o2)
	}
}

func isNoPush(err error) bool {
	return errors.Is(err, trigger.ErrNoPush) || errors.Is(err, trigger.ErrClosed)
}
