package release_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"github.com/escale-dev/escale/internal/timeline"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func routed(namespace, name, image string) v1alpha1.App {
	a := app(v1alpha1.AppSpec{
		Image: image, Port: 8080, Health: "/healthz", Replicas: ptr.To[int32](2), Route: &v1alpha1.Route{Host: "shop.example"},
	})
	a.Namespace, a.Name = namespace, name
	return a
}

func (c *cluster) put(t *testing.T, a v1alpha1.App) v1alpha1.App {
	t.Helper()
	have, err := release.PutApp(t.Context(), c.client, a)
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// The life of an App: released, ready, changed, rolled back, deleted.
func TestAppLivesAndDies(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, healthy)

	first := c.put(t, routed(ns, "web", "i:1"))
	got := c.isNow(t, ns, "web", "Ready", "Serving")
	revision := got.Status.Revision
	if got.Status.Observed != 2 || got.Status.Desired != 2 || got.Status.URL != "http://shop.example:8080/" {
		t.Errorf("got %+v", got.Status)
	}
	var d appsv1.Deployment
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &d); err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(&d, &first) {
		t.Error("the Deployment does not go with the App")
	}

	changed := routed(ns, "web", "i:2")
	changed.Spec.Route = nil
	c.put(t, changed)
	c.await(t, ns, "web", "released its second revision", func(a v1alpha1.App) bool {
		return a.Status.Revision != revision && a.Status.Conditions[0].Status == metav1.ConditionTrue
	})
	c.gone(t, gatewayv1.GroupVersion.String()+" HTTPRoute", ns, "web")

	history, err := release.History(t.Context(), c.client, ns, "web")
	if err != nil || len(history) != 2 || history[1].Revision != revision {
		t.Fatalf("history %+v, %v", history, err)
	}
	back, _, err := release.Rollback(changed, history, "")
	if err != nil {
		t.Fatal(err)
	}
	c.put(t, back)
	c.await(t, ns, "web", "rolled back", func(a v1alpha1.App) bool {
		return a.Status.Revision == revision && a.Status.Conditions[0].Status == metav1.ConditionTrue
	})

	if err := release.Delete(t.Context(), c.client, ns, "web"); err != nil {
		t.Fatal(err)
	}
	c.gone(t, "apps/v1 Deployment", ns, "web")
	want := []string{"deleted", "became ready", "rolled back", "became ready", "released", "became ready", "released"}
	if got := c.actions(ns); !slices.Equal(got, want) {
		t.Errorf("the timeline, newest first, has %v, want %v", got, want)
	}
}

// actions are what the timeline says of a namespace, without what passes while pods come and go.
func (c *cluster) actions(namespace string) []string {
	var out []string
	for _, r := range c.timeline.List(timeline.Filter{Namespace: namespace}) {
		out = append(out, r.Action)
	}
	return out
}

func TestControllerRepairsWhatIsChangedByHand(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, healthy)
	c.put(t, routed(ns, "web", "i:1"))
	was := c.isNow(t, ns, "web", "Ready", "Serving")

	var s corev1.Service
	s.Namespace, s.Name = ns, "web"
	if err := c.client.Delete(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"other"}]}}}}`)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	if err := c.client.Patch(t.Context(), d, client.RawPatch("application/strategic-merge-patch+json", patch)); err != nil {
		t.Fatal(err)
	}
	c.repaired(t, ns, "i:1")
	if now := c.isNow(t, ns, "web", "Ready", "Serving"); now.Status.Revision != was.Status.Revision {
		t.Errorf("the revision changed from %s to %s", was.Status.Revision, now.Status.Revision)
	}
}

// repaired waits until the Deployment has its image back and the Service is there.
func (c *cluster) repaired(t *testing.T, ns, image string) {
	t.Helper()
	w, err := c.client.Watch(t.Context(), &appsv1.DeploymentList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	timeout := time.After(patience)
	for {
		select {
		case e := <-w.ResultChan():
			d, ok := e.Object.(*appsv1.Deployment)
			if !ok || d.Spec.Template.Spec.Containers[0].Image != image {
				continue
			}
			if c.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &corev1.Service{}) == nil {
				return
			}
		case <-timeout:
			t.Fatal("what was changed by hand stayed changed")
		}
	}
}

// A number that an autoscaler and an App both write would change for ever.
func TestAppLeavesItsPodsToAnAutoscalerMadeByHand(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, healthy)
	fixed := routed(ns, "web", "i:1")
	c.put(t, fixed)
	c.isNow(t, ns, "web", "Ready", "Serving")
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "by-hand"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MinReplicas:    ptr.To[int32](4), MaxReplicas: 6,
		},
	}
	if err := c.client.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	c.await(t, ns, "web", "left its pods to the autoscaler", func(a v1alpha1.App) bool {
		m := meta.FindStatusCondition(a.Status.Conditions, "ReplicasIgnored")
		return m != nil && strings.Contains(m.Message, `HorizontalPodAutoscaler "by-hand"`) && a.Status.Observed == 4
	})
	fixed.Spec.Image = "i:2"
	c.put(t, fixed)
	c.await(t, ns, "web", "released with the autoscaler's number", func(a v1alpha1.App) bool {
		ready := meta.FindStatusCondition(a.Status.Conditions, "Ready")
		return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == a.Generation && a.Generation > 1 && a.Status.Desired == 4
	})
	if err := c.client.Delete(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	c.await(t, ns, "web", "took its number back", func(a v1alpha1.App) bool {
		return meta.FindStatusCondition(a.Status.Conditions, "ReplicasIgnored") == nil && a.Status.Observed == 2
	})
	if got := c.actions(ns); !slices.Contains(got, "left its pods to an autoscaler") {
		t.Errorf("the timeline has %v", got)
	}
}

func TestAppStallsWithTheReason(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, crashing)
	c.put(t, routed(ns, "web", "i:1"))
	got := c.isNow(t, ns, "web", "Stalled", release.ReasonCrashLoopBackOff)
	if m := got.Status.Conditions[0].Message; !strings.Contains(m, "ends with exit code 3: no database") {
		t.Errorf("message %q", m)
	}

	source := routed(ns, "api", "")
	source.Spec.Source = &v1alpha1.Source{Path: "."}
	c.put(t, source)
	c.isNow(t, ns, "api", "Stalled", release.ReasonSourceNotBuilt)
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	c, ns := start(t)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	s.Spec.Ports = []corev1.ServicePort{{Port: 1}}
	if err := c.client.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c.put(t, routed(ns, "web", "i:1"))
	got := c.isNow(t, ns, "web", "Stalled", release.ReasonApplyFailed)
	if m := got.Status.Conditions[0].Message; !strings.Contains(m, `Service "web" exists and does not belong to the App`) {
		t.Errorf("message %q", m)
	}
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil || s.Spec.Ports[0].Port != 1 {
		t.Errorf("the Service was changed: %v %v", s.Spec.Ports, err)
	}
}

// Without the controller's kind, objects alone are an App: this is how a foreign cluster is served.
func TestAppsWithoutTheKind(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, healthy)
	for i, image := range []string{"i:1", "i:2"} {
		if _, err := release.Apply(t.Context(), c.client, routed(ns, "web", image), epoch.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := release.Gather(t.Context(), c.client, ns, "web")
	if err != nil {
		t.Fatal(err)
	}
	if f.Managed || f.App.Spec.Image != "i:2" || f.App.Spec.Route.Host != "shop.example" || *f.App.Spec.Replicas != 2 {
		t.Errorf("got %+v", f.App.Spec)
	}
	list, err := release.List(t.Context(), c.client, ns)
	if err != nil || len(list) != 1 {
		t.Fatalf("listed %d Apps, %v", len(list), err)
	}
	if err := release.Delete(t.Context(), c.client, ns, "web"); err != nil {
		t.Fatal(err)
	}
	c.gone(t, "apps/v1 Deployment", ns, "web")
	if _, err := release.Gather(t.Context(), c.client, ns, "web"); err == nil || !strings.Contains(err.Error(), "no such App") {
		t.Errorf("got %v", err)
	}
	if err := release.Delete(t.Context(), c.client, ns, "web"); err == nil || !strings.Contains(err.Error(), "no such App") {
		t.Errorf("got %v", err)
	}
}

func TestHistoryKeepsTen(t *testing.T) {
	c, ns := start(t)
	for i := range 13 {
		a := routed(ns, "web", "i:"+string(rune('a'+i)))
		if _, err := release.Apply(t.Context(), c.client, a, epoch.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	applied, err := release.Apply(t.Context(), c.client, routed(ns, "web", "i:f"), epoch.Add(time.Minute))
	if err != nil || !applied.Back {
		t.Errorf("going back: %+v, %v", applied, err)
	}
	history, err := release.History(t.Context(), c.client, ns, "web")
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != 10 || history[0].Spec.Image != "i:f" || history[1].Spec.Image != "i:m" || !history[0].Released.Equal(epoch.Add(time.Minute)) {
		t.Errorf("got %d revisions, the newest %+v", len(history), history[0])
	}
}
