package release

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// reconciler brings the objects of Apps to what they render to, and writes what it sees into their status.
type reconciler struct {
	cached     client.Client // reads from the manager's cache
	live       client.Client // reads from the API server
	timeline   *timeline.Timeline
	events     events.EventRecorder
	gatewayURL func() string
	now        func() time.Time

	// What was applied, so that a pod's change of state does not apply six objects again. Losing it costs one round of
	// applying, which changes nothing.
	mu      sync.Mutex
	applied map[types.NamespacedName]string
}

// behind is how long the cache gets to catch up.
const behind = 50 * time.Millisecond

// Reconcile gathers, decides, acts and reports once for one App.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var app v1alpha1.App
	if err := r.cached.Get(ctx, req.NamespacedName, &app); err != nil {
		if apierrors.IsNotFound(err) {
			r.gone(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("reading App %q: %w", req, err)
	}
	if app.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // its objects go with it
	}
	done, applyErr := r.apply(ctx, app)
	f, err := Gather(ctx, r.cached, req.Namespace, req.Name)
	if errors.Is(err, ErrNoApp) {
		return reconcile.Result{}, nil // deleted in between
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	f.Now, f.GatewayURL = r.now(), r.gatewayURL()
	if applyErr != nil {
		f.ApplyError = applyErr.Error()
	}
	err = r.report(ctx, f, done)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: behind}, nil // the cache is
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, worthRetrying(applyErr)
}

// worthRetrying is the error to try again for. A spec that does not render stays so until it is changed.
func worthRetrying(err error) error {
	if errors.Is(err, ErrNotBuilt) || apierrors.IsInvalid(err) {
		return nil
	}
	return err
}

// apply applies the App unless the cluster has it already, and tells what that released.
func (r *reconciler) apply(ctx context.Context, app v1alpha1.App) ([]news, error) {
	if app.Spec.Suspend {
		return nil, nil
	}
	key := client.ObjectKeyFromObject(&app)
	shown, _, err := yield(ctx, r.cached, app)
	if err != nil {
		return nil, err
	}
	objects, err := Render(shown, RenderOptions{})
	if err != nil {
		return nil, reconcile.TerminalError(err)
	}
	want, err := digest(app, objects)
	if err != nil {
		return nil, err
	}
	have, err := r.present(ctx, objects)
	if err != nil {
		return nil, err
	}
	if r.isApplied(key, want+have) {
		return nil, nil
	}
	done, applied, err := apply(ctx, r.live, app, r.now())
	if err != nil {
		return nil, err
	}
	r.remember(key, want+stamps(applied))
	return released(done), nil
}

// digest tells what is to be applied, and for which App: one that is made anew has to own its objects anew.
func digest(app v1alpha1.App, objects []*unstructured.Unstructured) (string, error) {
	b, err := json.Marshal(objects)
	if err != nil {
		return "", fmt.Errorf("hashing the objects of App %q: %w", app.Name, err)
	}
	return fmt.Sprintf("%s %x", app.UID, sha256.Sum256(b)), nil
}

// present tells which versions of the objects the cache has.
func (r *reconciler) present(ctx context.Context, objects []*unstructured.Unstructured) (string, error) {
	have := make([]client.Object, 0, len(objects))
	for _, o := range objects {
		seen := watched(o.GroupVersionKind())
		err := r.cached.Get(ctx, client.ObjectKeyFromObject(o), seen)
		if client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("reading %s %q: %w", o.GetKind(), o.GetName(), err)
		}
		have = append(have, seen)
	}
	return stamps(have), nil
}

// stamps changes when the spec of an object does. Kinds without generations have no status that changes by itself.
func stamps[O metav1.Object](objects []O) string {
	s := ""
	for _, o := range objects {
		version := fmt.Sprint(o.GetGeneration())
		if o.GetGeneration() == 0 {
			version = o.GetResourceVersion()
		}
		s += fmt.Sprintf(" %s@%s", o.GetUID(), version)
	}
	return s
}

func (r *reconciler) isApplied(key types.NamespacedName, stamp string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied[key] == stamp
}

func (r *reconciler) remember(key types.NamespacedName, stamp string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied[key] = stamp
}

// gone tells once that an App was deleted.
func (r *reconciler) gone(key types.NamespacedName) {
	r.mu.Lock()
	_, known := r.applied[key]
	delete(r.applied, key)
	r.mu.Unlock()
	if known {
		app := v1alpha1.App{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		r.timeline.Add(news{action: "deleted", message: "the App was deleted, and its objects with it"}.record(app, r.now()))
	}
}

// report writes the status and tells what happened, once: what could not be written is told by the next round.
func (r *reconciler) report(ctx context.Context, f Facts, done []news) error {
	status := Observe(f)
	for _, n := range done {
		r.tell(f, n)
	}
	if err := prove(ctx, r.live, status, f); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(f.App.Status, status) {
		return nil
	}
	before := f.App.Status
	app := f.App.DeepCopy()
	app.Status = status
	if err := r.cached.Status().Update(ctx, app, client.FieldOwner(fieldOwner)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("writing the status of App %q: %w", app.Name, err))
	}
	for _, n := range changed(before, status, f) {
		r.tell(f, n)
	}
	r.tellAutoscaler(before, status, f)
	return nil
}

// tellAutoscaler tells the App and its autoscaler, once, that the App's number of pods has no effect.
func (r *reconciler) tellAutoscaler(before, after v1alpha1.AppStatus, f Facts) {
	is := condition(after, v1alpha1.ConditionReplicasIgnored)
	if is.Message == "" || is.Message == condition(before, v1alpha1.ConditionReplicasIgnored).Message {
		return
	}
	r.tell(f, news{warning: true, reason: v1alpha1.ConditionReplicasIgnored, action: "left its pods to an autoscaler", message: is.Message})
	r.events.Eventf(f.autoscaler.reference(), &f.App, corev1.EventTypeWarning, v1alpha1.ConditionReplicasIgnored, "Scale",
		"App %q leaves its pods to this object; remove replicas from the App, or delete this object", f.App.Name)
}

func (r *reconciler) tell(f Facts, n news) {
	r.timeline.Add(n.record(f.App, f.Now))
	r.events.Eventf(&f.App, nil, n.eventType(), n.reason, n.reason, "%s", n.message)
}
