package release

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kindScaledObject is what scales an App's Deployment.
var kindScaledObject = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}

// The defaults of spec.scale.
const (
	defaultMin, defaultMax  = 1, 10
	defaultRequestsInFlight = 20
	defaultUsedCPU          = 70
	defaultQuietSeconds     = 300
)

// mostPods is how many pods the App may have.
func mostPods(app v1alpha1.App) int32 {
	if s := app.Spec.Scale; s != nil {
		return ptr.Deref(s.Max, defaultMax)
	}
	return ptr.Deref(app.Spec.Replicas, 1)
}

// scaledObject is written as a map: its kind has fields that every client would see with their zero values.
func scaledObject(app v1alpha1.App) *unstructured.Unstructured {
	s := app.Spec.Scale
	quiet := int64(ptr.Deref(s.QuietSeconds, defaultQuietSeconds))
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"scaleTargetRef":  map[string]any{"name": app.Name},
		"minReplicaCount": int64(ptr.Deref(s.Min, defaultMin)),
		"maxReplicaCount": int64(ptr.Deref(s.Max, defaultMax)),
		"cooldownPeriod":  quiet,
		// A new App is seen to serve before it may rest.
		"initialCooldownPeriod": max(quiet, defaultQuietSeconds),
		"triggers":              scaleTriggers(app),
		"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"behavior": map[string]any{
			"scaleDown": map[string]any{"stabilizationWindowSeconds": quiet},
		}}},
	}}}
	o.SetGroupVersionKind(kindScaledObject)
	m := objectMeta(app)
	o.SetName(m.Name)
	o.SetNamespace(m.Namespace)
	o.SetLabels(m.Labels)
	return o
}

func scaleTriggers(app v1alpha1.App) []any {
	s := *app.Spec.Scale
	if s.RequestsInFlight == 0 && s.RequestsPerSecond == 0 && s.CPU == 0 && len(s.Triggers) == 0 {
		if app.Spec.Port != 0 {
			s.RequestsInFlight = defaultRequestsInFlight
		} else {
			s.CPU = defaultUsedCPU
		}
	}
	var out []any
	for _, r := range []struct {
		metric string
		target int32
	}{{"concurrency", s.RequestsInFlight}, {"rate", s.RequestsPerSecond}} {
		if r.target > 0 {
			out = append(out, map[string]any{"type": "requests", "metadata": map[string]any{
				"metric": r.metric, "targetValue": strconv.Itoa(int(r.target)),
			}})
		}
	}
	if s.CPU > 0 {
		out = append(out, map[string]any{"type": "cpu", "metricType": "Utilization", "metadata": map[string]any{"value": strconv.Itoa(int(s.CPU))}})
	}
	for _, t := range s.Triggers {
		trigger := map[string]any{"type": t.Type, "metadata": anyMap(t.Metadata)}
		if t.Authentication != "" {
			trigger["authenticationRef"] = map[string]any{"name": t.Authentication}
		}
		out = append(out, trigger)
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// scaleOwner is the scaler's name in managed fields.
const scaleOwner = client.FieldOwner("escale-scale")

// handOver gives the number of pods of a Deployment to the scaler, before it is applied without one: the API server would
// set a field that nobody owns any more to its default, one pod. A new Deployment begins with the fewest pods that serve,
// so that the first start of an App with spec.scale is no scale-up.
func handOver(ctx context.Context, c client.Client, app v1alpha1.App, o *unstructured.Unstructured) error {
	var have appsv1.Deployment
	err := c.Get(ctx, client.ObjectKeyFromObject(o), &have)
	if apierrors.IsNotFound(err) {
		if app.Spec.Scale == nil {
			return nil
		}
		return unstructured.SetNestedField(o.Object, max(int64(ptr.Deref(app.Spec.Scale.Min, defaultMin)), 1), "spec", "replicas")
	}
	if err != nil {
		return fmt.Errorf("reading Deployment %q: %w", o.GetName(), err)
	}
	ours := slices.ContainsFunc(have.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == fieldOwner && m.FieldsV1 != nil && strings.Contains(m.FieldsV1.GetRawString(), `"f:replicas":`)
	})
	if !ours || have.Spec.Replicas == nil {
		return nil
	}
	number := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(*have.Spec.Replicas)}}}
	number.SetGroupVersionKind(o.GroupVersionKind())
	number.SetNamespace(o.GetNamespace())
	number.SetName(o.GetName())
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(number), scaleOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("handing the pods of Deployment %q to the scaler: %w", o.GetName(), err)
	}
	return nil
}

// Reasons of an App that is scaled and has no pod.
const (
	ReasonAtRest  = "AtRest"  // the newest revision was seen to serve, and there is no work
	ReasonProving = "Proving" // the newest revision was not seen to serve yet: one pod is started for that
)

// atRest is the verdict on an App that its scaler keeps at zero. A revision counts as one that serves only after it was
// seen to.
func atRest(f Facts, revision string) *verdict {
	if f.App.Spec.Scale == nil || f.desired() > 0 {
		return nil
	}
	if !f.proven(revision) {
		return &verdict{progress, ReasonProving, fmt.Sprintf("starting a pod to see revision %q serve", revision)}
	}
	return &verdict{serving, ReasonAtRest, fmt.Sprintf("revision %q rests without work; the next request or message starts a pod", revision)}
}

// proven says that a revision was reported to serve.
func (f Facts) proven(revision string) bool {
	return f.App.Status.Revision == revision && meta.IsStatusConditionTrue(f.App.Status.Conditions, v1alpha1.ConditionReady)
}

// prove starts one pod of an App at zero whose newest revision nobody has seen serving. The scaler takes a number that
// someone else raised for work, and lets the pod be for the quiet period.
func prove(ctx context.Context, c client.Client, status v1alpha1.AppStatus, f Facts) error {
	reconciling := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReconciling)
	if reconciling == nil || reconciling.Reason != ReasonProving || f.Deployment == nil {
		return nil
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.Deployment.Namespace, Name: f.Deployment.Name}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":1}}`))
	if err := c.SubResource("scale").Patch(ctx, d, patch, client.WithSubResourceBody(&autoscalingv1.Scale{})); err != nil {
		return fmt.Errorf("starting a pod of App %q: %w", f.App.Name, err)
	}
	return nil
}
