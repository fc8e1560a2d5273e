package hours

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// reconciler keeps the office hours of one kind.
type reconciler struct {
	kind     kind
	client   client.Client
	timeline *timeline.Timeline
	events   events.EventRecorder
	now      func() time.Time
}

// behind is how long the cache gets to catch up.
const behind = 50 * time.Millisecond

// Reconcile gathers, decides, acts and reports once for one workload.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	o := r.kind.make()
	if err := r.client.Get(ctx, req.NamespacedName, o); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if o.GetDeletionTimestamp() != nil {
		return reconcile.Result{}, nil
	}
	w, err := gather(ctx, r.client, r.kind.name, o, r.now())
	if err != nil {
		return reconcile.Result{}, err
	}
	result, err := r.act(ctx, w)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: behind}, nil
	}
	return result, client.IgnoreNotFound(err)
}

func (r *reconciler) act(ctx context.Context, w workload) (reconcile.Result, error) {
	if !w.governed || (w.family.left != "" && w.facts.Original == nil) {
		return reconcile.Result{}, r.setError(ctx, w, "")
	}
	if w.err != nil {
		return reconcile.Result{}, r.setError(ctx, w, w.err.Error())
	}
	if w.family.left != "" {
		w.facts.Settings = Settings{Replicas: w.facts.Settings.Replicas} // brought back once, and then left alone
	}
	p := Decide(w.facts)
	result := reconcile.Result{}
	if !p.Next.IsZero() {
		// A moment late, so that the clock that is asked then is past it.
		result.RequeueAfter = max(0, p.Next.Sub(w.facts.Now)) + behind
	}
	switch p.Act {
	case TakeDown:
		return result, r.takeDown(ctx, w, p)
	case BringUp:
		return result, r.bringUp(ctx, w, p)
	case Forget:
		ledger := w.ledger.up(w.facts.Now)
		return result, r.patch(ctx, w, nil, map[string]any{annotationOriginal: nil, AnnotationLedger: ledger.text()})
	}
	return result, r.setError(ctx, w, "")
}

// takeDown writes the number of replicas, what it was and when, in one patch.
func (r *reconciler) takeDown(ctx context.Context, w workload, p Plan) error {
	now := w.facts.Now
	ledger := w.ledger.down(now, reservedBy(w.family.template, w.family.pods-p.Replicas))
	spec, annotations := change(w.object, p.Replicas, false)
	annotations = with(annotations, annotationOriginal, remembered(w.object, w.facts.Replicas))
	annotations = with(annotations, AnnotationLedger, ledger.text())
	if err := r.patch(ctx, w, spec, annotations); err != nil {
		return err
	}
	r.tell(w, downNews(w, p, ledger))
	return nil
}

// bringUp writes the number that the workload had.
func (r *reconciler) bringUp(ctx context.Context, w workload, p Plan) error {
	ledger := w.ledger.up(w.facts.Now)
	spec, annotations := change(w.object, p.Replicas, true)
	annotations = with(annotations, annotationOriginal, nil)
	annotations = with(annotations, AnnotationLedger, ledger.text())
	if err := r.patch(ctx, w, spec, annotations); err != nil {
		return err
	}
	r.tell(w, upNews(w, p))
	return nil
}

func with(m map[string]any, key string, value any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[key] = value
	return m
}

// setError writes what is wrong with the annotations, or that nothing is, and tells it once.
func (r *reconciler) setError(ctx context.Context, w workload, message string) error {
	if w.ledger.Error == message {
		return nil
	}
	ledger := w.ledger
	ledger.Error = message
	var value any = ledger.text()
	if ledger == (Ledger{}) {
		value = nil
	}
	if err := r.patch(ctx, w, nil, map[string]any{AnnotationLedger: value}); err != nil {
		return err
	}
	if message != "" {
		r.tell(w, errorNews(message))
	}
	return nil
}

// patch changes the object unless somebody else did since it was read.
func (r *reconciler) patch(ctx context.Context, w workload, spec, annotations map[string]any) error {
	body := map[string]any{"metadata": map[string]any{
		"annotations": annotations, "resourceVersion": w.object.GetResourceVersion(),
	}}
	if spec != nil {
		body["spec"] = spec
	}
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the change of %s %q: %w", w.kind, w.object.GetName(), err)
	}
	o := w.object.DeepCopyObject().(client.Object)
	if err := r.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, b), client.FieldOwner("escale-office-hours")); err != nil {
		return fmt.Errorf("changing %s %q: %w", w.kind, w.object.GetName(), err)
	}
	return nil
}

// replicasText is a number of replicas as the kind has them.
func (w workload) replicasText(n int32) string {
	switch {
	case w.kind == "CronJob" && n == 0:
		return "suspended"
	case w.kind == "CronJob":
		return "not suspended"
	case n == Unpaused:
		return "scaled by demand"
	case w.kind == "ScaledObject":
		return "paused at " + strconv.Itoa(int(n))
	case w.kind == "HorizontalPodAutoscaler":
		return fmt.Sprintf("at least %d replicas", n)
	case n == 1:
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}
