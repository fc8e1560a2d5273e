package scale

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/decision"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// jobs reconciles ScaledJobs.
type jobs struct{ *objects }

func (r *jobs) addJobs(m ctrl.Manager) error {
	specs := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(m).Named("scaledjob").
		For(&kedav1alpha1.ScaledJob{}, builder.WithPredicates(specOrAnnotations())).
		Watches(&kedav1alpha1.TriggerAuthentication{}, r.byAuth(kindAuth, &kedav1alpha1.ScaledJobList{}), specs).
		Watches(&kedav1alpha1.ClusterTriggerAuthentication{}, r.byAuth(kindClusterAuth, &kedav1alpha1.ScaledJobList{}), specs).
		WithOptions(controller.Options{MaxConcurrentReconciles: reconcilers, RateLimiter: retries()}).
		Complete(r)
}

// Reconcile implements reconcile.Reconciler.
func (r *jobs) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := key{kindScaledJob, req.NamespacedName}
	var o kedav1alpha1.ScaledJob
	if err := r.client.Get(ctx, req.NamespacedName, &o); err != nil {
		r.scaler.drop(k)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !o.DeletionTimestamp.IsZero() {
		r.scaler.drop(k)
		return reconcile.Result{}, r.release(ctx, &o)
	}
	j, in, no, err := r.buildJob(ctx, &o)
	if err != nil {
		return reconcile.Result{}, err
	}
	if no != nil {
		r.scaler.drop(k)
		return reconcile.Result{}, r.refuseJob(ctx, &o, no)
	}
	if err := r.rollOut(ctx, &o); err != nil {
		return reconcile.Result{}, err
	}
	r.installJob(k, j)
	return reconcile.Result{RequeueAfter: in.renew}, nil
}

func (r *jobs) buildJob(ctx context.Context, o *kedav1alpha1.ScaledJob) (*job, madeSources, *refusal, error) {
	if message := checkTriggers(o.Spec.Triggers); message != "" {
		return nil, madeSources{}, &refusal{"ScaledJobCheckFailed", message}, nil
	}
	spec, err := specOf(o.Spec.JobTargetRef)
	if err != nil {
		return nil, madeSources{}, &refusal{"ScaledJobCheckFailed", err.Error()}, nil
	}
	base, err := compileJobSettings(o)
	if err != nil {
		return nil, madeSources{}, &refusal{"ScaledJobCheckFailed", err.Error()}, nil
	}
	j := &job{scaler: r.scaler, name: client.ObjectKeyFromObject(o), object: o.DeepCopy(), spec: spec, base: base, recent: map[string]time.Time{}}
	if no, err := r.tryJob(ctx, j); no != nil || err != nil {
		return nil, madeSources{}, no, err
	}
	pod := &podEnv{reader: r.credentials.reader, namespace: o.Namespace, spec: &j.spec.Template.Spec, container: o.Spec.EnvSourceContainerName}
	in, no := r.sources(ctx, askedSources{
		kind: kindScaledJob, object: j.name, workload: workloadOf(kindScaledJob, o.Namespace, o.Name), triggers: o.Spec.Triggers,
		pod: pod,
	})
	if no != nil {
		return nil, in, no, nil
	}
	j.sources, j.notes = in.sources, in.notes
	if o.Status.LastActiveTime != nil {
		j.lastActive = o.Status.LastActiveTime.Time
	}
	return j, in, nil, nil
}

// tryJob lets the API server judge a Job without starting it: the definition of a ScaledJob does not check its template.
func (r *jobs) tryJob(ctx context.Context, j *job) (*refusal, error) {
	err := r.client.Create(ctx, j.make(), client.DryRunAll)
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err):
		return &refusal{"ScaledJobCheckFailed", fmt.Sprintf("jobTargetRef makes a Job that is refused: %s", err)}, nil
	}
	return nil, fmt.Errorf("trying a Job of ScaledJob %q: %w", j.name.Name, err)
}

func compileJobSettings(o *kedav1alpha1.ScaledJob) (*decision.JobSettings, error) {
	s := o.Spec.ScalingStrategy
	set := &decision.JobSettings{
		Min: orDefault(o.Spec.MinReplicaCount, 0), Max: orDefault(o.Spec.MaxReplicaCount, decision.DefaultMax),
		Deduction: orDefault(s.CustomScalingQueueLengthDeduction, 0),
		Grace:     polling(o.Spec.PollingInterval),
		Paused:    annotated(o.Annotations, kedav1alpha1.AnnotationPaused),
		Strategy: map[string]decision.Strategy{
			"custom": decision.CustomStrategy, "accurate": decision.AccurateStrategy, "eager": decision.EagerStrategy,
		}[s.Strategy],
		Combine: map[string]decision.Combine{
			"min": decision.CombineMin, "avg": decision.CombineAvg, "sum": decision.CombineSum,
		}[s.MultipleScalersCalculation],
	}
	set.Min = min(set.Min, set.Max)
	if set.Strategy == decision.CustomStrategy {
		share, err := strconv.ParseFloat(s.CustomScalingRunningJobPercentage, 64)
		if err != nil || !(share >= 0) {
			return nil, fmt.Errorf("scalingStrategy.customScalingRunningJobPercentage is %q; want a number such as \"0.5\"", s.CustomScalingRunningJobPercentage)
		}
		set.RunningShare = share
	}
	return set, nil
}

// rollOut deletes the Jobs of an older spec, unless the object wants them to end by themselves.
func (r *jobs) rollOut(ctx context.Context, o *kedav1alpha1.ScaledJob) error {
	strategy := o.Spec.Rollout.Strategy
	if strategy == "" {
		strategy = o.Spec.RolloutStrategy
	}
	if strategy == "gradual" {
		return nil
	}
	var all batchv1.JobList
	err := r.client.List(ctx, &all, client.InNamespace(o.Namespace), client.MatchingLabels{labelScaledJob: o.Name})
	if err != nil {
		return fmt.Errorf("listing the Jobs of ScaledJob %q: %w", o.Name, err)
	}
	propagation := metav1.DeletePropagationBackground
	if o.Spec.Rollout.PropagationPolicy == "foreground" {
		propagation = metav1.DeletePropagationForeground
	}
	for i := range all.Items {
		b := &all.Items[i]
		made := b.Annotations[annotationGeneration]
		if made == "" || made == strconv.FormatInt(o.Generation, 10) || finished(b) != "" || !b.DeletionTimestamp.IsZero() {
			continue
		}
		if err := r.client.Delete(ctx, b, client.PropagationPolicy(propagation)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting Job %q of an older spec: %w", b.Name, err)
		}
	}
	return nil
}

// release takes KEDA's finalizer off an object that is deleted; the Jobs go with their owner.
func (r *jobs) release(ctx context.Context, o *kedav1alpha1.ScaledJob) error {
	i := slices.Index(o.Finalizers, finalizer)
	if i < 0 {
		return nil
	}
	before := o.DeepCopy()
	o.Finalizers = slices.Delete(o.Finalizers, i, i+1)
	if err := r.client.Patch(ctx, o, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("removing the finalizer of ScaledJob %q: %w", o.Name, client.IgnoreNotFound(err))
	}
	return nil
}

func (r *jobs) installJob(k key, j *job) {
	fresh := j.sources
	if old, ok := r.scaler.subject(k).(*job); ok {
		fresh = slices.DeleteFunc(slices.Clone(j.sources), func(s *source) bool { return slices.Contains(old.sources, s) })
		j.shown = old.shownNow()
		old.retire(j.sources)
	}
	r.scaler.put(k, j, fresh)
}

func (r *jobs) refuseJob(ctx context.Context, o *kedav1alpha1.ScaledJob, no *refusal) error {
	want := *o.Status.DeepCopy()
	if want.Conditions.Get(kedav1alpha1.ConditionReady).Message != no.message {
		r.scaler.event(regarding(kindScaledJob, client.ObjectKeyFromObject(o), o.UID), corev1.EventTypeWarning, no.reason, "Check", "%s", no.message)
	}
	want.Conditions.Set(conditionsWithout(no.reason, no.message)[0])
	want.TriggersTypes, want.AuthenticationsTypes = namesOf(o.Spec.Triggers)
	return r.scaler.patchJobStatus(ctx, o, want)
}

func (s *Scaler) patchJobStatus(ctx context.Context, have *kedav1alpha1.ScaledJob, want kedav1alpha1.ScaledJobStatus) error {
	if equality.Semantic.DeepEqual(have.Status, want) {
		return nil
	}
	before := have.DeepCopy()
	have.Status = want
	if err := s.client.Status().Patch(ctx, have, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("writing the status of ScaledJob %q: %w", have.Name, client.IgnoreNotFound(err))
	}
	return nil
}
