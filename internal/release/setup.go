package release

import (
	"context"
	"fmt"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Deps are what the capability needs.
type Deps struct {
	// Manager runs the controller. Its scheme knows App, the Gateway API and the built-in kinds.
	Manager manager.Manager
	// Timeline gets a record of every release. May be nil.
	Timeline *timeline.Timeline
	// GatewayURL is the address of the gateway as people reach it; empty while it is not known.
	GatewayURL func() string
}

// concurrentApps is how many Apps are worked on at a time: most of the work is waiting for the API server.
const concurrentApps = 8

// Setup adds the App controller to the manager.
func Setup(d Deps) error {
	live, err := client.New(d.Manager.GetConfig(), client.Options{
		Scheme: d.Manager.GetScheme(), Mapper: d.Manager.GetRESTMapper(), HTTPClient: d.Manager.GetHTTPClient(),
	})
	if err != nil {
		return fmt.Errorf("making the App controller's client: %w", err)
	}
	r := &reconciler{
		cached: d.Manager.GetClient(), live: live, timeline: d.Timeline, gatewayURL: d.GatewayURL,
		events: d.Manager.GetEventRecorder("escale"), now: time.Now, applied: map[types.NamespacedName]string{},
	}
	b := builder.ControllerManagedBy(d.Manager).
		For(&v1alpha1.App{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrentApps})
	for _, gvk := range rendered {
		b = b.Owns(watched(gvk))
	}
	for _, part := range []client.Object{&appsv1.ReplicaSet{}, &batchv1.Job{}, &corev1.Pod{}} {
		b = b.Watches(part, handler.EnqueueRequestsFromMapFunc(appOf))
	}
	for _, scaler := range []client.Object{&autoscalingv2.HorizontalPodAutoscaler{}, &kedav1alpha1.ScaledObject{}} {
		b = b.Watches(scaler, handler.EnqueueRequestsFromMapFunc(scaledApp), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("setting up the App controller: %w", err)
	}
	return nil
}

// watched is the form in which a rendered kind is cached: whole where its status counts, else its metadata.
func watched(gvk schema.GroupVersionKind) client.Object {
	switch gvk.Kind {
	case "Deployment":
		return &appsv1.Deployment{}
	case "CronJob":
		return &batchv1.CronJob{}
	case "HTTPRoute":
		return &gatewayv1.HTTPRoute{}
	}
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(gvk)
	return o
}

// appOf is the App that a part was made for.
func appOf(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.LabelApp]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// AddToScheme registers every kind the capability reads and writes.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, kedav1alpha1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, v1alpha1.AddToScheme, gatewayv1.Install,
	} {
		if err := add(s); err != nil {
			return fmt.Errorf("registering kinds: %w", err)
		}
	}
	return nil
}
