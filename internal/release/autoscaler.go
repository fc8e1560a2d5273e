package release

import (
	"cmp"
	"context"
	"fmt"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// An App with a fixed number of pods leaves the number alone while an autoscaler that somebody made by hand scales its
// Deployment: two that write one field would undo each other for ever. An App that is stopped, with replicas 0, stays so:
// a HorizontalPodAutoscaler does nothing at zero, and the scaler refuses such a ScaledObject.

// ReasonAutoscaler is why the App's replicas have no effect.
const ReasonAutoscaler = "Autoscaler"

// autoscaler is an object that scales the Deployment of an App.
type autoscaler struct {
	gvk    schema.GroupVersionKind
	object metav1.Object
	target types.NamespacedName
}

func (a *autoscaler) String() string { return fmt.Sprintf("%s %q", a.gvk.Kind, a.object.GetName()) }

func (a *autoscaler) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: a.gvk.GroupVersion().String(), Kind: a.gvk.Kind,
		Namespace: a.object.GetNamespace(), Name: a.object.GetName(), UID: a.object.GetUID(),
	}
}

// autoscalerOf reads an autoscaler as one of a Deployment; nil if it is none.
func autoscalerOf(o client.Object) *autoscaler {
	a := &autoscaler{object: o, target: types.NamespacedName{Namespace: o.GetNamespace()}}
	var apiVersion, kind string
	switch o := o.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		a.gvk = autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler")
		ref := o.Spec.ScaleTargetRef
		apiVersion, kind, a.target.Name = ref.APIVersion, ref.Kind, ref.Name
	case *kedav1alpha1.ScaledObject:
		a.gvk = kindScaledObject
		if o.Spec.ScaleTargetRef == nil {
			return nil
		}
		ref := o.Spec.ScaleTargetRef
		apiVersion, kind, a.target.Name = cmp.Or(ref.APIVersion, "apps/v1"), cmp.Or(ref.Kind, "Deployment"), ref.Name
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || gv.Group != "apps" || kind != "Deployment" || !o.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return a
}

// scaledApp is the App whose Deployment an autoscaler scales.
func scaledApp(_ context.Context, o client.Object) []reconcile.Request {
	a := autoscalerOf(o)
	if a == nil {
		return nil
	}
	return []reconcile.Request{{NamespacedName: a.target}}
}

// autoscalers lists those of Deployments in a namespace, or in all for "".
func autoscalers(ctx context.Context, r client.Reader, namespace string) (map[types.NamespacedName]*autoscaler, error) {
	out := map[types.NamespacedName]*autoscaler{}
	for _, list := range []client.ObjectList{&autoscalingv2.HorizontalPodAutoscalerList{}, &kedav1alpha1.ScaledObjectList{}} {
		if err := r.List(ctx, list, client.InNamespace(namespace)); err != nil && !isNoKind(err) {
			return nil, fmt.Errorf("listing autoscalers: %w", err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return nil, fmt.Errorf("listing autoscalers: %w", err)
		}
		for _, o := range objects {
			if a := autoscalerOf(o.(client.Object)); a != nil {
				out[a.target] = a
			}
		}
	}
	return out, nil
}

// fixedPods says that an App asks for a number of pods that an autoscaler would change.
func fixedPods(app v1alpha1.App) bool { return ptr.Deref(app.Spec.Replicas, 0) > 0 }

// yield takes the number of pods out of an App whose Deployment an autoscaler scales, and says whether there was one.
func yield(ctx context.Context, r client.Reader, app v1alpha1.App) (v1alpha1.App, bool, error) {
	if !fixedPods(app) {
		return app, false, nil
	}
	found, err := autoscalers(ctx, r, app.Namespace)
	if err != nil || found[client.ObjectKeyFromObject(&app)] == nil {
		return app, false, err
	}
	app.Spec.Replicas = nil
	return app, true, nil
}

// scalers adds the autoscalers of Apps that have a fixed number of pods.
func (g *gathering) scalers(namespace string) error {
	if !anyOf(g.apps, func(f *Facts) bool { return fixedPods(f.App) }) {
		return nil
	}
	found, err := autoscalers(g.ctx, g.reader, namespace)
	if err != nil {
		return err
	}
	for key, a := range found {
		if f := g.apps[key]; f != nil && fixedPods(f.App) {
			f.autoscaler = a
		}
	}
	return nil
}

func anyOf(apps map[types.NamespacedName]*Facts, is func(*Facts) bool) bool {
	for _, f := range apps {
		if is(f) {
			return true
		}
	}
	return false
}

// noteAutoscaler says in a status that the App's number of pods has no effect.
func noteAutoscaler(s *v1alpha1.AppStatus, f Facts) {
	if f.autoscaler == nil {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReplicasIgnored)
		return
	}
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReplicasIgnored, Status: metav1.ConditionTrue, Reason: ReasonAutoscaler,
		Message: fmt.Sprintf("replicas %d is without effect, because %s scales the Deployment; remove replicas from the App, or delete that object",
			*f.App.Spec.Replicas, f.autoscaler),
		ObservedGeneration: f.App.Generation, LastTransitionTime: metav1.NewTime(f.Now),
	})
}
