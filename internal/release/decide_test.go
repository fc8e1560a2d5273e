package release_test

import (
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a cluster in which an App of two pods with a route serves; each case changes one thing.
func world(change func(*release.Facts)) release.Facts {
	a := app(v1alpha1.AppSpec{
		Image: "i", Port: 8080, Health: "/healthz", Replicas: ptr.To[int32](2), Route: &v1alpha1.Route{Host: "shop.example"},
	})
	a.Generation = 3
	f := release.Facts{Now: epoch, App: a, Managed: true, GatewayURL: "http://127.0.0.1:8080"}
	revision, err := release.Revision(a)
	if err != nil {
		panic(err)
	}
	labels := map[string]string{v1alpha1.LabelApp: a.Name, v1alpha1.LabelRevision: revision}
	f.Deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: a.Name, UID: "d", Generation: 5}}
	f.Deployment.Spec.Replicas = ptr.To[int32](2)
	f.Deployment.Spec.Template.Labels = labels
	f.Deployment.Status.ObservedGeneration = 5
	f.ReplicaSets = []appsv1.ReplicaSet{replicaSet("new", revision, 2), replicaSet("old", "0ld", 0)}
	for _, name := range []string{"web-1", "web-2"} {
		f.Pods = append(f.Pods, pod(name, "new"))
	}
	f.Route = &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: a.Name, Generation: 1}}
	f.Route.Status.Parents = []gatewayv1.RouteParentStatus{{Conditions: []metav1.Condition{
		{Type: "Accepted", Status: metav1.ConditionTrue, ObservedGeneration: 1},
		{Type: "ResolvedRefs", Status: metav1.ConditionTrue, ObservedGeneration: 1},
	}}}
	if change != nil {
		change(&f)
	}
	return f
}

func controlledBy(kind, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, UID: types.UID(uid), Controller: ptr.To(true)}}
}

func replicaSet(name, revision string, n int32) appsv1.ReplicaSet {
	rs := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(name), OwnerReferences: controlledBy("Deployment", "d"),
		Labels: map[string]string{v1alpha1.LabelRevision: revision},
	}}
	rs.Spec.Replicas = ptr.To(n)
	rs.Status.AvailableReplicas = n
	return rs
}

func pod(name, rs string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, OwnerReferences: controlledBy("ReplicaSet", rs), CreationTimestamp: metav1.NewTime(epoch.Add(-9 * time.Second)),
	}}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch.Add(-8 * time.Second))},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch.Add(-2 * time.Second))},
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Image: "i", State: corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(epoch.Add(-5 * time.Second))},
	}}}
	return p
}

// broken makes the second pod one whose container is in this state.
func broken(state, last corev1.ContainerState, restarts int32) func(*release.Facts) {
	return func(f *release.Facts) {
		f.ReplicaSets[0].Status.AvailableReplicas = 1
		p := &f.Pods[1]
		p.Status.Conditions[1].Status = corev1.ConditionFalse
		p.Status.ContainerStatuses[0] = corev1.ContainerStatus{
			Name: "app", Image: "i", State: state, LastTerminationState: last, RestartCount: restarts,
		}
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func ended(code int32, reason, message string, ran time.Duration) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message, StartedAt: metav1.NewTime(epoch), FinishedAt: metav1.NewTime(epoch.Add(ran)),
	}}
}

var (
	none    corev1.ContainerState
	backOff = waiting("CrashLoopBackOff", "back-off 10s restarting failed container")
	running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
)

// atZero is an App whose scaler keeps no pod.
func atZero(f *release.Facts) {
	f.App.Spec.Replicas, f.App.Spec.Scale = nil, &v1alpha1.Scale{Min: ptr.To[int32](0)}
	f.Deployment.Spec.Replicas = ptr.To[int32](0)
	f.ReplicaSets[0].Spec.Replicas, f.ReplicaSets[0].Status.AvailableReplicas = ptr.To[int32](0), 0
	f.Pods = nil
}

func TestObserve(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*release.Facts)
		is      string // the condition that is true
		reason  string
		message string
	}{
		"all is well": {nil, "Ready", "Serving", "serves with 2 pods"},
		"stopped": {func(f *release.Facts) { f.App.Spec.Replicas = ptr.To[int32](0) },
			"Ready", "Stopped", "asks for no pods"},
		"scaled to zero, seen to serve": {func(f *release.Facts) {
			atZero(f)
			f.App.Status.Revision = f.Deployment.Spec.Template.Labels[v1alpha1.LabelRevision]
			meta.SetStatusCondition(&f.App.Status.Conditions, metav1.Condition{Type: "Ready", Status: "True", Reason: "Serving"})
		}, "Ready", "AtRest", "rests without work"},
		"scaled to zero, a revision nobody saw": {func(f *release.Facts) {
			atZero(f)
			f.App.Status.Revision = "0ld0ld00"
			meta.SetStatusCondition(&f.App.Status.Conditions, metav1.Condition{Type: "Ready", Status: "True", Reason: "Serving"})
		}, "Reconciling", "Proving", "starting a pod to see revision"},
		"a source": {func(f *release.Facts) { f.App.Spec.Image, f.App.Spec.Source = "", &v1alpha1.Source{Path: "."} },
			"Stalled", "SourceNotBuilt", "`escale deploy`"},
		"nothing to run": {func(f *release.Facts) { f.App.Spec.Image = "" }, "Stalled", "InvalidSpec", "nothing to run"},
		"an object of someone else": {func(f *release.Facts) { f.ApplyError = `Service "web" exists` },
			"Stalled", "ApplyFailed", `Service "web" exists`},
		"an error that only the controller saw": {func(f *release.Facts) {
			f.Deployment = nil
			meta.SetStatusCondition(&f.App.Status.Conditions, metav1.Condition{
				Type: "Stalled", Status: "True", Reason: "ApplyFailed", Message: "no quota", ObservedGeneration: 3,
			})
		}, "Stalled", "ApplyFailed", "no quota"},
		"suspended before a change":     {func(f *release.Facts) { f.App.Spec.Suspend, f.App.Spec.Image = true, "j" }, "", "Suspended", "spec.suspend"},
		"suspended and as it should be": {func(f *release.Facts) { f.App.Spec.Suspend = true }, "Ready", "Serving", ""},
		"not applied yet":               {func(f *release.Facts) { f.App.Spec.Image = "j" }, "Reconciling", "Applying", "applying revision"},
		"not seen by the Deployment's controller": {func(f *release.Facts) { f.Deployment.Generation = 6 },
			"Reconciling", "Applying", "applying revision"},
		"no pod yet": {func(f *release.Facts) { f.Pods, f.ReplicaSets = nil, nil },
			"Reconciling", "RollingOut", "0 of 2 pods ready: waiting for pods to be created"},
		"looking for a node": {func(f *release.Facts) {
			broken(none, none, 0)(f)
			f.Pods[1].Status.Conditions = nil
		}, "Reconciling", "RollingOut", `1 of 2 pods ready: waiting for pod "web-2" to find a node`},
		"starting": {func(f *release.Facts) {
			broken(waiting("ContainerCreating", ""), none, 0)(f)
			f.Pods[1].Status.Phase = corev1.PodPending
		}, "Reconciling", "RollingOut", `waiting for pod "web-2" to start`},
		"not answering yet": {broken(running, none, 0), "Reconciling", "RollingOut",
			`waiting for pod "web-2" to answer GET /healthz on port 8080`},
		"not listening yet": {func(f *release.Facts) {
			broken(running, none, 0)(f)
			f.App.Spec.Health = ""
			relabel(f)
		}, "Reconciling", "RollingOut", `waiting for pod "web-2" to accept connections on port 8080`},
		"a worker settles": {func(f *release.Facts) {
			f.App.Spec.Health, f.App.Spec.Port, f.App.Spec.Route = "", 0, nil
			f.ReplicaSets[0].Status.AvailableReplicas = 0
			relabel(f)
		}, "Reconciling", "RollingOut", "0 of 2 pods ready: waiting 3 seconds to see that the pods keep running"},
		"no room": {func(f *release.Facts) {
			broken(none, none, 0)(f)
			f.Pods[1].Status.Conditions = []corev1.PodCondition{{
				Type: "PodScheduled", Status: "False", Reason: "Unschedulable", Message: "0/3 nodes are available: 3 Insufficient cpu.",
			}}
		}, "Stalled", "Unschedulable", `pod "web-2" fits on no node: 0/3 nodes are available: 3 Insufficient cpu.`},
		"an image that is not there": {broken(waiting("ErrImagePull", "not found"), none, 0),
			"Stalled", "ImagePullBackOff", `pod "web-2" cannot pull image "i": not found`},
		"the same, a moment later": {broken(waiting("ImagePullBackOff", `Back-off pulling image "i": ErrImagePull: not found`), none, 0),
			"Stalled", "ImagePullBackOff", `pod "web-2" cannot pull image "i": not found`},
		"a secret that is not there": {broken(waiting("CreateContainerConfigError", `secret "database" not found`), none, 0),
			"Stalled", "CannotStart", `secret "database" not found`},
		"a program that the machine does not have": {
			broken(waiting("RunContainerError", `container "app": program "shop" is not on this machine and not in the image`), none, 0),
			"Stalled", "CommandNotFound", "is not on this machine"},
		"a command that does not exist": {broken(waiting("RunContainerError", `exec: "shop": executable file not found in $PATH`), none, 0),
			"Stalled", "CommandNotFound", "executable file not found"},
		"a command that does not exist, from a shell": {broken(backOff, ended(127, "Error", "", 0), 1),
			"Stalled", "CommandNotFound", "command of the image not found (exit code 127)"},
		"a start that the runtime refused": {broken(ended(128, "StartError", "no such file or directory", 0), none, 0),
			"Stalled", "CommandNotFound", "no such file"},
		"the first end": {broken(ended(1, "Error", "", time.Second), none, 0),
			"Reconciling", "RollingOut", `to answer GET /healthz`},
		"a crash loop": {broken(backOff, ended(3, "Error", "", time.Second), 2),
			"Stalled", "CrashLoopBackOff", `pod "web-2" ends with exit code 3`},
		"a crash loop, between two": {broken(running, ended(3, "Error", "", time.Second), 2),
			"Stalled", "CrashLoopBackOff", `pod "web-2" ends with exit code 3`},
		"a service that is done": {broken(backOff, ended(0, "Completed", "", time.Second), 1),
			"Stalled", "CrashLoopBackOff", "a program that is done belongs in an App with a schedule"},
		"out of memory": {broken(backOff, ended(137, "OOMKilled", "", time.Second), 1),
			"Stalled", "CrashLoopBackOff", "raise spec.resources.memoryLimit"},
		"never healthy": {broken(backOff, ended(143, "Error", "", time.Minute), 1),
			"Stalled", "HealthCheckFailed", "did not answer GET /healthz on port 8080 within 60 seconds"},
		"pods that may not be": {func(f *release.Facts) {
			f.Pods, f.ReplicaSets[0].Status.AvailableReplicas = nil, 0
			f.Deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: "ReplicaFailure", Status: "True", Message: "exceeded quota"}}
		}, "Stalled", "PodsRefused", "no pod can be created: exceeded quota"},
		"ten minutes": {func(f *release.Facts) {
			broken(running, none, 0)(f)
			f.Deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: "Progressing", Status: "False"}}
		}, "Stalled", "DeadlineExceeded", "no further pod became ready for ten minutes: waiting for pod"},
		"a pod that is going away is no trouble": {func(f *release.Facts) {
			broken(backOff, ended(3, "Error", "", 0), 2)(f)
			f.Pods[1].DeletionTimestamp = ptr.To(metav1.NewTime(epoch))
		}, "Reconciling", "RollingOut", "1 of 2 pods ready"},
		"older pods": {func(f *release.Facts) { f.ReplicaSets[1].Spec.Replicas = ptr.To[int32](1) },
			"Reconciling", "Retiring", `pods of revision "0ld" still serve`},
		"a route nobody took": {func(f *release.Facts) { f.Route.Status.Parents = nil },
			"Reconciling", "Routing", `waiting for gateway "escale-system/escale" to take the route`},
		"a route that was changed": {func(f *release.Facts) { f.Route.Generation = 2 }, "Reconciling", "Routing", ""},
		"a route that was refused": {func(f *release.Facts) {
			f.Route.Status.Parents[0].Conditions[0] = metav1.Condition{
				Type: "Accepted", Status: "False", Reason: "NoMatchingListenerHostname", Message: "no listener", ObservedGeneration: 1,
			}
		}, "Stalled", "RouteRefused", "NoMatchingListenerHostname: no listener"},
	} {
		t.Run(name, func(t *testing.T) {
			got := release.Observe(world(tt.change))
			is, reason, message := "", "", ""
			for _, c := range got.Conditions {
				if c.Status == metav1.ConditionTrue {
					is += c.Type
				}
				reason, message = c.Reason, c.Message
			}
			if is != tt.is || reason != tt.reason || !strings.Contains(message, tt.message) {
				t.Errorf("got %q %s %q\nwant %q %s %q", is, reason, message, tt.is, tt.reason, tt.message)
			}
			if len(got.Conditions) != 3 || got.ObservedGeneration != 3 {
				t.Errorf("got %d conditions of generation %d, want 3 of 3", len(got.Conditions), got.ObservedGeneration)
			}
		})
	}
}

// relabel makes the objects those of the App's present revision.
func relabel(f *release.Facts) {
	revision, err := release.Revision(f.App)
	if err != nil {
		panic(err)
	}
	f.Deployment.Spec.Template.Labels[v1alpha1.LabelRevision] = revision
	f.ReplicaSets[0].Labels[v1alpha1.LabelRevision] = revision
}

func TestObserveJob(t *testing.T) {
	finished := func(name string, kind batchv1.JobConditionType, age time.Duration) batchv1.Job {
		return batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch.Add(-age))},
			Status:     batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: "True", Message: "too many"}}},
		}
	}
	for name, tt := range map[string]struct {
		jobs    []batchv1.Job
		reason  string
		message string
	}{
		"before the first run": {nil, "Scheduled", `runs at "@hourly"`},
		"after a failed run": {[]batchv1.Job{finished("b", "Failed", time.Minute), finished("a", "Complete", time.Hour)},
			"JobFailed", `the last run, job "b", failed: too many`},
		"after a good run": {[]batchv1.Job{finished("a", "Failed", time.Hour), finished("b", "Complete", time.Minute)}, "Scheduled", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := app(v1alpha1.AppSpec{Image: "i", Schedule: "@hourly"})
			revision, err := release.Revision(a)
			if err != nil {
				t.Fatal(err)
			}
			f := release.Facts{Now: epoch, App: a, Managed: true, Jobs: tt.jobs, CronJob: &batchv1.CronJob{}}
			f.CronJob.Spec.JobTemplate.Spec.Template.Labels = map[string]string{v1alpha1.LabelRevision: revision}
			got := release.Observe(f)
			if c := got.Conditions[0]; c.Reason != tt.reason || !strings.Contains(c.Message, tt.message) {
				t.Errorf("got %s %q, want %s %q", c.Reason, c.Message, tt.reason, tt.message)
			}
			if got.Desired != 0 || got.Observed != 0 {
				t.Errorf("got %d of %d pods, want none", got.Observed, got.Desired)
			}
		})
	}
}

// The status of unchanged facts is unchanged, or the controller would wake itself for ever.
func TestObserveIsStable(t *testing.T) {
	f := world(nil)
	f.App.Status = release.Observe(f)
	f.Now = f.Now.Add(time.Hour)
	again := release.Observe(f)
	for i, c := range again.Conditions {
		if c != f.App.Status.Conditions[i] {
			t.Errorf("condition changed from %v to %v", f.App.Status.Conditions[i], c)
		}
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct{ host, path, gateway, want string }{
		{"", "", "http://127.0.0.1:8080", "http://127.0.0.1:8080/"},
		{"shop.example.com", "", "http://127.0.0.1:8080", "http://shop.example.com:8080/"},
		{"shop.localhost", "/api", "http://127.0.0.1:8080", "http://shop.localhost:8080/api"},
		{"*.example.com", "/", "https://192.0.2.1", "https://any.example.com/"},
		{"shop.example.com", "/", "", ""},
		{"shop.example.com", "/", "://", ""},
	} {
		got := release.URL(v1alpha1.Route{Host: tt.host, Path: tt.path}, tt.gateway)
		if got != tt.want {
			t.Errorf("route %q%q behind %q: got %q, want %q", tt.host, tt.path, tt.gateway, got, tt.want)
		}
	}
}
