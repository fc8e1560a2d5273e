package release

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Reasons of the conditions, beside those of a pod in trouble.
const (
	ReasonServing           = "Serving"           // every pod of the newest revision is ready, and the route taken
	ReasonStopped           = "Stopped"           // the App asks for no pods
	ReasonScheduled         = "Scheduled"         // the job waits for its time
	ReasonSuspended         = "Suspended"         // the spec is not applied because the App says so
	ReasonApplying          = "Applying"          // the objects of the spec are not there yet
	ReasonRollingOut        = "RollingOut"        // pods of the newest revision are on their way
	ReasonRetiring          = "Retiring"          // pods of an older revision still serve
	ReasonRouting           = "Routing"           // the gateway has not answered for the route
	ReasonRouteRefused      = "RouteRefused"      // the gateway refused the route
	ReasonSourceNotBuilt    = "SourceNotBuilt"    // the source has no image
	ReasonInvalidSpec       = "InvalidSpec"       // the spec does not render
	ReasonApplyFailed       = "ApplyFailed"       // the API server refused an object
	ReasonPodsRefused       = "PodsRefused"       // the API server refuses to create pods
	ReasonDeadlineExceeded  = "DeadlineExceeded"  // no pod became ready for ten minutes
	ReasonJobFailed         = "JobFailed"         // the last run of a scheduled job failed
	ReasonUnschedulable     = "Unschedulable"     // no node takes a pod
	ReasonImagePullBackOff  = "ImagePullBackOff"  // an image cannot be pulled
	ReasonCannotStart       = "CannotStart"       // a container cannot be made or started
	ReasonCommandNotFound   = "CommandNotFound"   // the command does not exist
	ReasonCrashLoopBackOff  = "CrashLoopBackOff"  // a container ends again and again
	ReasonHealthCheckFailed = "HealthCheckFailed" // a container never answered its health check and is started anew
)

// verdict is what an App's state amounts to.
type verdict struct {
	state   state
	reason  string
	message string
}

type state int

const (
	progress state = iota // moving towards the spec
	serving               // there
	stalled               // needs a person
	held                  // told to stand still
)

// Observe is the status that the facts amount to. It is a pure function: the same facts give the same status, and a
// message changes only when what it says does.
//
// The rules are asked in order, and the first that has an answer gives it: what keeps the objects from being made, then
// what keeps pods from being ready, then what keeps requests from reaching them.
func Observe(f Facts) v1alpha1.AppStatus {
	revision, _ := Revision(f.App) // a spec without one is reported by unrenderable
	if !f.Managed && f.Deployment != nil {
		revision = f.Deployment.Spec.Template.Labels[v1alpha1.LabelRevision]
	}
	s := v1alpha1.AppStatus{
		ObservedGeneration: f.App.Generation,
		Desired:            f.desired(),
		Observed:           f.observed(),
		Revision:           cmp.Or(revision, f.App.Status.Revision),
		URL:                f.url(),
		Conditions:         slices.Clone(f.App.Status.Conditions),
	}
	v := judge(f, revision)
	for _, c := range []struct {
		kind string
		is   bool
	}{
		{v1alpha1.ConditionReady, v.state == serving},
		{v1alpha1.ConditionReconciling, v.state == progress},
		{v1alpha1.ConditionStalled, v.state == stalled},
	} {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: c.kind, Status: conditionStatus(c.is), Reason: v.reason, Message: v.message,
			ObservedGeneration: f.App.Generation, LastTransitionTime: metav1.NewTime(f.Now),
		})
	}
	noteAutoscaler(&s, f)
	return s
}

func conditionStatus(is bool) metav1.ConditionStatus {
	if is {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func (f Facts) desired() int32 {
	switch {
	case f.App.Spec.Schedule != "":
		return 0
	case f.App.Spec.Replicas != nil && f.autoscaler == nil:
		return *f.App.Spec.Replicas
	case f.App.Spec.Scale != nil && f.Deployment != nil:
		return max(ptr.Deref(f.Deployment.Spec.Replicas, 1), ptr.Deref(f.App.Spec.Scale.Min, defaultMin))
	case f.Deployment != nil:
		return ptr.Deref(f.Deployment.Spec.Replicas, 1)
	}
	return 1
}

// observed counts the pods of the newest revision that are ready and, for one without a port, have settled.
func (f Facts) observed() int32 {
	if rs := f.Newest(); rs != nil {
		return rs.Status.AvailableReplicas
	}
	return 0
}

func (f Facts) url() string {
	if f.App.Spec.Route == nil {
		return ""
	}
	return cmp.Or(URL(*f.App.Spec.Route, f.GatewayURL), f.App.Status.URL)
}

// judge asks the rules in order.
func judge(f Facts, revision string) verdict {
	for _, rule := range []func(Facts, string) *verdict{
		suspended, unrenderable, refused, job, unapplied, atRest, stopped, troubled, unavailable, retiring, unrouted,
	} {
		if v := rule(f, revision); v != nil {
			return *v
		}
	}
	return verdict{serving, ReasonServing, fmt.Sprintf("revision %q serves with %s", revision, pods(f.desired()))}
}

func pods(n int32) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

func suspended(f Facts, revision string) *verdict {
	if !f.App.Spec.Suspend || f.applied(revision) {
		return nil
	}
	return &verdict{held, ReasonSuspended, "the App is suspended: set spec.suspend to false to apply it"}
}

// applied says whether the workload is that of the revision.
func (f Facts) applied(revision string) bool {
	if f.App.Spec.Schedule != "" {
		return f.CronJob != nil && f.CronJob.Spec.JobTemplate.Spec.Template.Labels[v1alpha1.LabelRevision] == revision
	}
	return f.Deployment != nil && f.Deployment.Spec.Template.Labels[v1alpha1.LabelRevision] == revision
}

func unrenderable(f Facts, _ string) *verdict {
	if !f.Managed {
		return nil // what is there was rendered
	}
	_, err := Render(f.App, RenderOptions{})
	switch {
	case errors.Is(err, ErrNotBuilt):
		return &verdict{stalled, ReasonSourceNotBuilt, err.Error()}
	case err != nil:
		return &verdict{stalled, ReasonInvalidSpec, err.Error()}
	}
	return nil
}

// refused keeps what the controller reported of this generation, for readers that cannot know.
func refused(f Facts, revision string) *verdict {
	if f.ApplyError != "" {
		return &verdict{stalled, ReasonApplyFailed, f.ApplyError}
	}
	c := meta.FindStatusCondition(f.App.Status.Conditions, v1alpha1.ConditionStalled)
	if c != nil && c.Reason == ReasonApplyFailed && c.Status == metav1.ConditionTrue &&
		c.ObservedGeneration == f.App.Generation && !f.applied(revision) {
		return &verdict{stalled, ReasonApplyFailed, c.Message}
	}
	return nil
}

func job(f Facts, revision string) *verdict {
	if f.App.Spec.Schedule == "" {
		return nil
	}
	if !f.applied(revision) {
		return unapplied(f, revision)
	}
	if last := lastFinished(f.Jobs); last != nil {
		if c := jobCondition(*last, batchv1.JobFailed); c != nil {
			return &verdict{stalled, ReasonJobFailed, fmt.Sprintf("the last run, job %q, failed: %s", last.Name, c.Message)}
		}
	}
	return &verdict{serving, ReasonScheduled, fmt.Sprintf("runs at %q", f.App.Spec.Schedule)}
}

func lastFinished(jobs []batchv1.Job) *batchv1.Job {
	var last *batchv1.Job
	for i := range jobs {
		j := &jobs[i]
		finished := jobCondition(*j, batchv1.JobFailed) != nil || jobCondition(*j, batchv1.JobComplete) != nil
		if finished && (last == nil || last.CreationTimestamp.Before(&j.CreationTimestamp)) {
			last = j
		}
	}
	return last
}

func jobCondition(j batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for _, c := range j.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return &c
		}
	}
	return nil
}

func unapplied(f Facts, revision string) *verdict {
	if f.applied(revision) && (f.Deployment == nil || f.Deployment.Status.ObservedGeneration >= f.Deployment.Generation) {
		return nil
	}
	return &verdict{progress, ReasonApplying, fmt.Sprintf("applying revision %q", revision)}
}

func stopped(f Facts, _ string) *verdict {
	if f.desired() > 0 {
		return nil
	}
	return &verdict{serving, ReasonStopped, "the App asks for no pods: set spec.replicas to start it"}
}

// troubled reports what keeps pods of the newest revision from becoming ready without end.
func troubled(f Facts, _ string) *verdict {
	if f.observed() >= f.desired() {
		return nil
	}
	for _, p := range f.NewestPods() {
		if t := podTrouble(p, f.App); t != nil {
			return &verdict{stalled, t.reason, t.message}
		}
	}
	if c := deploymentCondition(f.Deployment, appsv1.DeploymentReplicaFailure); c != nil && c.Status == corev1.ConditionTrue {
		return &verdict{stalled, ReasonPodsRefused, "no pod can be created: " + c.Message}
	}
	c := deploymentCondition(f.Deployment, appsv1.DeploymentProgressing)
	if c != nil && c.Status == corev1.ConditionFalse {
		return &verdict{stalled, ReasonDeadlineExceeded, "no further pod became ready for ten minutes: " + waiting(f)}
	}
	return nil
}

func deploymentCondition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == kind {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

func unavailable(f Facts, _ string) *verdict {
	if f.observed() >= f.desired() {
		return nil
	}
	return &verdict{progress, ReasonRollingOut, fmt.Sprintf("%d of %s ready: %s", f.observed(), pods(f.desired()), waiting(f))}
}

// retiring waits for the decision to remove older pods, not for their end: they finish their requests, and get no new
// ones.
func retiring(f Facts, revision string) *verdict {
	newest := f.Newest()
	for _, rs := range f.ReplicaSets {
		if rs.UID != newest.UID && ptr.Deref(rs.Spec.Replicas, 0) > 0 {
			return &verdict{progress, ReasonRetiring, fmt.Sprintf(
				"revision %q is ready; pods of revision %q still serve", revision, rs.Labels[v1alpha1.LabelRevision])}
		}
	}
	return nil
}

func unrouted(f Facts, _ string) *verdict {
	if f.App.Spec.Route == nil {
		return nil
	}
	namespace, name := gatewayOf(*f.App.Spec.Route)
	wait := &verdict{progress, ReasonRouting, fmt.Sprintf("waiting for gateway %q to take the route", namespace+"/"+name)}
	if f.Route == nil || len(f.Route.Status.Parents) == 0 {
		return wait
	}
	for _, parent := range f.Route.Status.Parents {
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			c := meta.FindStatusCondition(parent.Conditions, string(kind))
			if c == nil || c.ObservedGeneration < f.Route.Generation || c.Status == metav1.ConditionUnknown {
				return wait
			}
			if c.Status == metav1.ConditionFalse {
				return &verdict{stalled, ReasonRouteRefused, fmt.Sprintf(
					"gateway %q refused the route: %s: %s", namespace+"/"+name, c.Reason, c.Message)}
			}
		}
	}
	return nil
}
