package scale

import (
	"context"
	"strings"
	"testing"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestFollowsDemand(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	s.load("web", 95)
	apply[kedav1alpha1.ScaledObject](s, requests("web", `
  minReplicaCount: 1
  advanced:
    horizontalPodAutoscalerConfig:
      name: of-keda
      behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
`))
	s.wantPods("web", 10)
	o := s.wantCondition("web", "Ready", metav1.ConditionTrue, "advanced.horizontalPodAutoscalerConfig.name")
	s.wantCondition("web", "Active", metav1.ConditionTrue)
	if got := o.Status; got.ScaleTargetKind != "apps/v1.Deployment" || got.ScaleTargetGVKR.Resource != "deployments" || *got.OriginalReplicaCount != 1 {
		t.Errorf("the status is %+v", got)
	}
	if got := o.Status.ExternalMetricNames; len(got) != 1 || !strings.HasPrefix(got[0], "s0-") {
		t.Errorf("the metrics are %q", got)
	}

	s.load("web", 0)
	s.wantPods("web", 1)
	s.eventually("a record of the scale-in", func(context.Context) error {
		for _, r := range s.timeline.List(timeline.Filter{Namespace: s.namespace}) {
			if r.Action == "scaled down" && strings.Contains(r.Reason, "requests in flight") {
				return nil
			}
		}
		return errNone
	})
}

func TestHeldRequestWakesFromZero(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 0)
	s.load("web", 0)
	apply[kedav1alpha1.ScaledObject](s, requests("web", ""))
	s.wantCondition("web", "Hibernated", metav1.ConditionTrue)
	s.signals.Held(types.NamespacedName{Namespace: s.namespace, Name: "web"})
	s.wantPods("web", 1)
}

func TestGoesToZeroWithoutWork(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 3)
	s.load("web", 0)
	apply[kedav1alpha1.ScaledObject](s, requests("web", "  cooldownPeriod: 1\n"))
	s.wantPods("web", 0)
}

func TestTwoAutoscalersDoNotFight(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	s.load("web", 95)
	hpa := apply[autoscalingv2.HorizontalPodAutoscaler](s, `
metadata: {name: other}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
`)
	apply[kedav1alpha1.ScaledObject](s, requests("web", ""))
	s.wantCondition("web", "Ready", metav1.ConditionFalse, "Conflict", `HorizontalPodAutoscaler "other"`, "delete it")
	s.wantPods("web", 1)
	if err := s.client.Delete(context.Background(), hpa); err != nil {
		t.Fatal(err)
	}
	s.wantPods("web", 10)

	apply[kedav1alpha1.ScaledObject](s, strings.Replace(requests("web", ""), "{name: web}", "{name: zweb}", 1))
	s.wantCondition("zweb", "Ready", metav1.ConditionFalse, "Conflict", `ScaledObject "web"`)
	s.wantCondition("web", "Ready", metav1.ConditionTrue)
}

func TestAppWithReplicasLeavesThemToTheObject(t *testing.T) {
	s := startStory(t)
	app := apply[v1alpha1.App](s, "metadata: {name: web}\nspec: {image: none, replicas: 0}\n")
	s.deployment("web", 0)
	var d appsv1.Deployment
	if err := s.client.Get(context.Background(), s.key("web"), &d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy() // the Deployment's controller writes it too: change the owner only
	d.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(app, v1alpha1.GroupVersion.WithKind("App"))}
	if err := s.client.Patch(context.Background(), &d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.load("web", 35)
	apply[kedav1alpha1.ScaledObject](s, requests("web", ""))
	s.wantCondition("web", "Ready", metav1.ConditionFalse, "Conflict", `App "web" stops`)

	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":2}}`))
	if err := s.client.Patch(context.Background(), app, patch); err != nil {
		t.Fatal(err)
	}
	s.wantPods("web", 4)
	s.wantCondition("web", "Ready", metav1.ConditionTrue, `replicas 2 of App "web"`, "remove replicas")
}

func TestPauseAnnotations(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	s.load("web", 95)
	o := apply[kedav1alpha1.ScaledObject](s, strings.Replace(requests("web", ""), "{name: web}", `{name: web, annotations: {autoscaling.keda.sh/paused-replicas: "4"}}`, 1))
	s.wantPods("web", 4)
	got := s.wantCondition("web", "Paused", metav1.ConditionTrue, "autoscaling.keda.sh/paused-replicas")
	if got.Status.PausedReplicaCount == nil || *got.Status.PausedReplicaCount != 4 {
		t.Errorf("pausedReplicaCount is %v", got.Status.PausedReplicaCount)
	}
	s.annotate(o, kedav1alpha1.AnnotationPausedReplicas, "")
	s.wantPods("web", 10)
	s.wantCondition("web", "Paused", metav1.ConditionFalse)
}

func TestFallbackStandsInForASourceThatIsDown(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	apply[kedav1alpha1.ScaledObject](s, `
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  minReplicaCount: 1
  pollingInterval: 1
  fallback: {failureThreshold: 1, replicas: 6}
  triggers:
  - type: metrics-api
    metadata: {url: "http://127.0.0.1:1/none", valueLocation: value, targetValue: "1"}
`)
	s.wantPods("web", 6)
	o := s.wantCondition("web", "Fallback", metav1.ConditionTrue)
	for name, h := range o.Status.Health {
		if h.Status != kedav1alpha1.HealthFailing || *h.NumberOfFailures == 0 {
			t.Errorf("health of %q is %+v", name, h)
		}
	}
}

func TestSourceThatIsDownIsNamed(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 3)
	apply[kedav1alpha1.ScaledObject](s, `
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  cooldownPeriod: 0
  triggers:
  - type: metrics-api
    metadata: {url: "http://127.0.0.1:1/none", valueLocation: value, targetValue: "1"}
`)
	s.wantCondition("web", "Ready", metav1.ConditionFalse, "TriggerError", "metrics-api")
	s.wantPods("web", 3)
}

func TestDeleteGivesTheFirstNumberBack(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 2)
	s.load("web", 95)
	o := apply[kedav1alpha1.ScaledObject](s, requests("web", "  advanced: {restoreToOriginalReplicaCount: true}\n"))
	s.wantPods("web", 10)
	if err := s.client.Delete(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	s.wantPods("web", 2)
	s.eventually("the object to be gone", func(ctx context.Context) error {
		if err := s.client.Get(ctx, s.key("web"), &kedav1alpha1.ScaledObject{}); client.IgnoreNotFound(err) != nil || err == nil {
			return errNone
		}
		return nil
	})
}

func TestWhatCannotBeIsNamed(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	for name, c := range map[string]struct{ spec, words string }{
		"no-target":   {"scaleTargetRef: {name: nobody}\n  triggers: [{type: requests, metadata: {targetValue: \"1\"}}]", `no Deployment "nobody"`},
		"no-kind":     {"scaleTargetRef: {name: web, apiVersion: a.b/v1, kind: C}\n  triggers: [{type: requests, metadata: {targetValue: \"1\"}}]", `no kind "C"`},
		"bad-trigger": {"scaleTargetRef: {name: web}\n  triggers: [{type: requests, metadata: {}}]", "targetValue"},
		"not-built":   {"scaleTargetRef: {name: web}\n  triggers: [{type: github-runner, metadata: {owner: a, runnerScope: repo}}]", "github-runner"},
		"cpu-to-zero": {"scaleTargetRef: {name: web}\n  triggers: [{type: cpu, metricType: AverageValue, metadata: {value: \"1\"}}]", "resources.requests.cpu"},
		"no-auth":     {"scaleTargetRef: {name: web}\n  triggers: [{type: redis, metadata: {address: \"a:1\", listName: l}, authenticationRef: {name: nobody}}]", `TriggerAuthentication "nobody"`},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			apply[kedav1alpha1.ScaledObject](s, "metadata: {name: "+name+"}\nspec:\n  "+c.spec+"\n")
			s.wantCondition(name, "Ready", metav1.ConditionFalse, c.words)
		})
	}
}

func TestFailingCallerHoldsAndLetsGo(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 1)
	caller := signal.Workload{Kind: "Deployment", Namespace: s.namespace, Name: "front"}
	s.world.mu.Lock()
	s.world.replicas[caller] = signal.Replicas{Desired: 2, Pods: 2}
	s.world.calls = []signal.Call{{Caller: caller, Callee: signal.Workload{Kind: "Deployment", Namespace: s.namespace, Name: "web"}, LastSeen: time.Now()}}
	s.world.mu.Unlock()
	s.load("web", 50)
	apply[kedav1alpha1.ScaledObject](s, requests("web", `
  minReplicaCount: 1
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 1}}}}
`))
	s.wantPods("web", 5)
	s.load("web", 0)
	s.wantCondition("web", "Held", metav1.ConditionTrue, "front", "has no pod that is ready")
	s.wantPods("web", 5)
	s.world.mu.Lock()
	s.world.replicas[caller] = signal.Replicas{Desired: 2, Pods: 2, Ready: 2}
	s.world.mu.Unlock()
	s.wantPods("web", 1)
	s.wantCondition("web", "Held", metav1.ConditionFalse)
}
