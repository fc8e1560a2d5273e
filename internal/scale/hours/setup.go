package hours

import (
	"context"
	"fmt"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Deps are what office hours need.
type Deps struct {
	// Manager runs them. Its scheme knows App, KEDA's kinds and the built-in ones.
	Manager manager.Manager
	// Timeline gets a record when a workload is taken down and brought up. May be nil.
	Timeline *timeline.Timeline
}

// Setup adds one controller for each kind to the manager.
func Setup(d Deps) error {
	for _, k := range kinds {
		r := &reconciler{
			kind: k, client: d.Manager.GetClient(), timeline: d.Timeline, now: time.Now,
			events: d.Manager.GetEventRecorder("escale"),
		}
		if err := r.add(d.Manager); err != nil {
			return fmt.Errorf("setting up the office hours of %ss: %w", k.name, err)
		}
	}
	return nil
}

func (r *reconciler) add(m manager.Manager) error {
	changed := builder.WithPredicates(predicate.Or[client.Object](
		predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	annotated := builder.WithPredicates(predicate.AnnotationChangedPredicate{})
	b := builder.ControllerManagedBy(m).Named("office-hours-"+r.kind.name).For(r.kind.make(), changed).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.all), annotated)
	for _, related := range r.related() {
		b = b.Watches(related, handler.EnqueueRequestsFromMapFunc(r.all), annotated)
	}
	return b.Complete(r)
}

// related are the kinds whose objects have a say in those of this one.
func (r *reconciler) related() []client.Object {
	switch r.kind.name {
	case "Deployment", "StatefulSet":
		return []client.Object{&v1alpha1.App{}, &kedav1alpha1.ScaledObject{}}
	case "CronJob":
		return []client.Object{&v1alpha1.App{}}
	case "ScaledObject", "HorizontalPodAutoscaler":
		return []client.Object{&v1alpha1.App{}, &appsv1.Deployment{}}
	}
	return nil
}

// all asks for every object of the kind in the namespace of o, or that o is. It reads the cache only.
func (r *reconciler) all(ctx context.Context, o client.Object) []reconcile.Request {
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = o.GetName()
	}
	list := r.kind.list()
	if err := r.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil // the cache is not there yet; every object is looked at when it is
	}
	var out []reconcile.Request
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(item.(client.Object))})
		return nil
	})
	return out
}
