package hours

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// clock is a time that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// office is office hours on a real API server, at a time of the test's choice.
type office struct {
	t        *testing.T
	c        client.Client
	clock    *clock
	timeline *timeline.Timeline
}

func start(t *testing.T) office {
	t.Helper()
	cfg := enginetest.Start(t)
	ctrl.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme, kedav1alpha1.AddToScheme} {
		must(t, add(scheme))
	}
	m, err := ctrl.NewManager(cfg, manager.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	must(t, err)
	tl, err := timeline.Open(t.TempDir())
	must(t, err)
	o := office{t: t, clock: &clock{now: time.Now()}, timeline: tl}
	for _, k := range kinds {
		r := &reconciler{kind: k, client: m.GetClient(), timeline: tl, now: o.clock.time, events: m.GetEventRecorder("escale")}
		must(t, r.add(m))
	}
	o.c, err = client.New(cfg, client.Options{Scheme: scheme})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = tl.Close()
	})
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// becomes waits until an object is as wanted.
func (o office) becomes(what string, object client.Object, wanted func() bool) {
	o.t.Helper()
	err := wait.PollUntilContextTimeout(o.t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		return wanted(), o.c.Get(ctx, client.ObjectKeyFromObject(object), object)
	})
	if err != nil {
		o.t.Fatalf("%s: %v\n%+v", what, err, object)
	}
}

// annotate changes the annotations of an object; an empty value removes one.
func (o office) annotate(object client.Object, key, value string) {
	o.t.Helper()
	var v any = value
	if value == "" {
		v = nil
	}
	patch := client.RawPatch("application/merge-patch+json", mergePatch(key, v))
	must(o.t, o.c.Patch(o.t.Context(), object, patch))
}

func mergePatch(key string, value any) []byte {
	if value == nil {
		return []byte(`{"metadata":{"annotations":{"` + key + `":null}}}`)
	}
	return []byte(`{"metadata":{"annotations":{"` + key + `":"` + value.(string) + `"}}}`)
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "night", Name: name} }

func template() (metav1.LabelSelector, corev1.PodTemplateSpec) {
	labels := map[string]string{"app": "x"}
	return metav1.LabelSelector{MatchLabels: labels}, corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "main", Image: "x", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")}}}}},
	}
}

func deployment(name string, n int32) *appsv1.Deployment {
	selector, pods := template()
	return &appsv1.Deployment{ObjectMeta: named(name), Spec: appsv1.DeploymentSpec{Replicas: ptr.To(n), Selector: &selector, Template: pods}}
}

func TestANamespaceGoesDownAndComesBack(t *testing.T) {
	o := start(t)
	ctx := t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "night"}}
	must(t, o.c.Create(ctx, namespace))
	selector, pods := template()
	web, db := deployment("web", 3), &appsv1.StatefulSet{ObjectMeta: named("db"), Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](2), Selector: &selector, Template: pods}}
	scaled := deployment("scaled", 4)
	jobPods := pods.DeepCopy()
	jobPods.Spec.RestartPolicy = corev1.RestartPolicyNever
	report := &batchv1.CronJob{ObjectMeta: named("report"), Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *",
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: *jobPods}}}}
	so := &kedav1alpha1.ScaledObject{ObjectMeta: named("scaled"), Spec: kedav1alpha1.ScaledObjectSpec{
		ScaleTargetRef: &kedav1alpha1.ScaleTarget{Name: "scaled"},
		Triggers:       []kedav1alpha1.ScaleTriggers{{Type: "cron", Metadata: map[string]string{}}}}}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: named("hpa"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		MinReplicas: ptr.To[int32](4), MaxReplicas: 9, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "ReplicaSet", Name: "none", APIVersion: "apps/v1"}}}
	hpa.Annotations = map[string]string{"downscaler/downtime-replicas": "1"}
	fixed := &v1alpha1.App{ObjectMeta: named("fixed"), Spec: v1alpha1.AppSpec{Image: "x", Replicas: ptr.To[int32](2)}}
	kept := deployment("kept", 1)
	kept.Annotations = map[string]string{"downscaler/exclude": "true"}
	all := []client.Object{web, db, scaled, report, so, hpa, fixed, kept}
	for _, object := range all {
		must(t, o.c.Create(ctx, object))
	}

	day := time.Now().UTC().Truncate(24 * time.Hour)
	evening, morning := day.Add(44*time.Hour), day.Add(56*time.Hour)
	o.clock.set(evening)
	o.annotate(namespace, "downscaler/uptime", "Mon-Sun 08:00-18:00 UTC")
	o.becomes("web is down", web, func() bool { return *web.Spec.Replicas == 0 && web.Annotations[annotationOriginal] == "3" })
	o.becomes("db is down", db, func() bool { return *db.Spec.Replicas == 0 && db.Annotations[annotationOriginal] == "2" })
	o.becomes("report is suspended", report, func() bool { return ptr.Deref(report.Spec.Suspend, false) })
	o.becomes("the ScaledObject is paused", so, func() bool { return so.Annotations[kedav1alpha1.AnnotationPausedReplicas] == "0" })
	o.becomes("the HPA has a lower minimum", hpa, func() bool { return *hpa.Spec.MinReplicas == 1 })
	o.becomes("the App is down", fixed, func() bool { return *fixed.Spec.Replicas == 0 })

	rows, err := List(ctx, o.c, "night", evening.Add(2*time.Hour))
	must(t, err)
	got := map[string]Row{}
	for _, r := range rows {
		got[r.Kind+" "+r.Name] = r
	}
	if r := got["Deployment web"]; !r.Down || r.Original != 3 || r.Saved != (Saved{3, 6}) || r.Until == nil || !r.Until.Equal(morning) {
		t.Errorf("web is listed as %+v", r)
	}
	if r := got["ScaledObject scaled"]; !r.Down || r.Saved != (Saved{4, 8}) {
		t.Errorf("the ScaledObject is listed as %+v", r)
	}
	if r := got["Deployment scaled"]; r.Down || r.LeftTo != `ScaledObject "scaled"` {
		t.Errorf("what it scales is listed as %+v", r)
	}
	if r := got["Deployment kept"]; r.Down || r.Why != "excluded" {
		t.Errorf("what is excluded is listed as %+v", r)
	}

	o.clock.set(morning)
	o.annotate(namespace, "test", "wake") // the moment itself is the manager's timer, which goes by the machine's clock
	o.annotate(namespace, "downscaler/grace-period", "900")
	o.becomes("web is back", web, func() bool { return *web.Spec.Replicas == 3 && web.Annotations[annotationOriginal] == "" })
	o.becomes("db is back", db, func() bool { return *db.Spec.Replicas == 2 })
	o.becomes("report runs again", report, func() bool { return !*report.Spec.Suspend })
	o.becomes("the ScaledObject is free", so, func() bool {
		return so.Annotations[kedav1alpha1.AnnotationPausedReplicas] == "" && so.Annotations[annotationOriginal] == ""
	})
	o.becomes("the HPA has its minimum", hpa, func() bool { return *hpa.Spec.MinReplicas == 4 })
	o.becomes("the App is back", fixed, func() bool { return *fixed.Spec.Replicas == 2 })
	if *kept.Spec.Replicas != 1 || *scaled.Spec.Replicas != 4 {
		t.Error("what is excluded or left to another was touched")
	}
	o.recorded("web", "brought up", "; it was down for 12h0m0s and saved reservations of 18.00 CPU-hours and 36.00 GiB-hours")

	o.annotate(web, "downscaler/uptime", "9 to 5")
	o.becomes("the mistake is on the object", web, func() bool {
		return strings.Contains(readLedger(web.Annotations).Error, `value \"9 to 5\"`) || strings.Contains(readLedger(web.Annotations).Error, `value "9 to 5"`)
	})
	o.recorded("web", "left as it is", `annotation "downscaler/uptime", value "9 to 5"`)
	o.annotate(web, "downscaler/uptime", "")
	o.becomes("the mistake is gone", web, func() bool { return readLedger(web.Annotations).Error == "" })
	if got := readLedger(web.Annotations); got.CPUHours != 18 {
		t.Errorf("what was saved is forgotten: %+v", got)
	}
}

// recorded expects a record whose reason holds text.
func (o office) recorded(name, action, text string) {
	o.t.Helper()
	for _, r := range o.timeline.List(timeline.Filter{Name: name}) {
		if r.Action == action && strings.Contains(r.Reason, text) {
			return
		}
	}
	o.t.Errorf("no record %q of %s says %q: %+v", action, name, text, o.timeline.List(timeline.Filter{Name: name}))
}
