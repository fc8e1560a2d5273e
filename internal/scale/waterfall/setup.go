package waterfall

import (
	"context"
	"fmt"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Deps are what the waterfall needs.
type Deps struct {
	// Manager runs it. Its cache holds whole pods, as the other capabilities need them.
	Manager manager.Manager
	// Timeline gets a record of each scale-up. May be nil.
	Timeline *timeline.Timeline
	// Signals tells when data planes route to pods and get their first answers. May be nil.
	Signals *signal.Store
}

// Setup adds the watcher to the manager, which starts it.
func Setup(d Deps) (*Watcher, error) {
	w := newWatcher(d.Timeline, d.Signals)
	pods, err := d.Manager.GetCache().GetInformer(context.Background(), &corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("watching pods for the waterfall: %w", err)
	}
	if _, err := pods.AddEventHandler(w.handler()); err != nil {
		return nil, fmt.Errorf("watching pods for the waterfall: %w", err)
	}
	if err := d.Manager.Add(w); err != nil {
		return nil, fmt.Errorf("adding the waterfall: %w", err)
	}
	return w, nil
}

// handler feeds the watcher from an informer of pods.
func (w *Watcher) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			if o, ok := object.(*corev1.Pod); ok && !initial {
				w.podAdded(o)
			}
		},
		UpdateFunc: func(_, object any) {
			if o, ok := object.(*corev1.Pod); ok {
				w.podChanged(o)
			}
		},
		DeleteFunc: func(object any) {
			if lost, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = lost.Obj
			}
			if o, ok := object.(*corev1.Pod); ok {
				w.podDeleted(o)
			}
		},
	}
}
