package scale

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	portal "github.com/escale-dev/escale/internal/web"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Deps is what scaling needs from the platform.
type Deps struct {
	// Manager runs the scaler. Its scheme knows keda.sh/v1alpha1 and App.
	Manager ctrl.Manager
	// Kube makes tokens of service accounts for triggers.
	Kube kubernetes.Interface
	// Signals are the live facts; nil: triggers that read them know nothing.
	Signals *signal.Store
	// Timeline receives a record of each change, save scale-ups, which Scaleups follows and records. Both may be nil.
	Timeline *timeline.Timeline
	Scaleups *waterfall.Watcher
	// Namespace holds the Secrets of ClusterTriggerAuthentications.
	Namespace string
	// Dialer reaches the servers of triggers by the names that pods use; nil: only by the machine's.
	Dialer *trigger.Dialer
	// Web serves the Scaling pages. It may be nil.
	Web *portal.Server
	// Log is for people who run the platform.
	Log *slog.Logger
}

// workload names what is scaled.
type workload = signal.Workload

// targetIndex is the index of ScaledObjects and HPAs by the name of their target; authIndex that of ScaledObjects and
// ScaledJobs by their TriggerAuthentications, "KIND/NAME".
const (
	targetIndex = "scale.target"
	authIndex   = "scale.auth"
)

// reconcilers is how many objects are looked at at a time.
const reconcilers = 8

// Setup adds the scaler and its controllers to the manager, which starts them.
func Setup(d Deps) (*Scaler, error) {
	s := newScaler(d.Log)
	s.live = d.Manager.GetAPIReader()
	s.client, s.signals, s.timeline, s.watcher = d.Manager.GetClient(), d.Signals, d.Timeline, d.Scaleups
	s.recorder = d.Manager.GetEventRecorder("escale-scale")
	s.reports = newReports(s.writeStatus)
	var err error
	if s.scales, err = scaleClient(d.Manager); err != nil {
		return nil, err
	}
	if err := watchWorkloads(d.Manager, s); err != nil {
		return nil, fmt.Errorf("watching workloads to scale: %w", err)
	}
	if err := addIndexes(d.Manager.GetFieldIndexer()); err != nil {
		return nil, fmt.Errorf("indexing autoscalers: %w", err)
	}
	r := &objects{
		scaler: s, client: s.client, dialer: d.Dialer, mapper: d.Manager.GetRESTMapper(),
		credentials: credentials{reader: d.Manager.GetAPIReader(), kube: d.Kube, namespace: d.Namespace},
	}
	for _, add := range []func(ctrl.Manager) error{r.addObjects, (&jobs{objects: r}).addJobs, addAuths} {
		if err := add(d.Manager); err != nil {
			return nil, fmt.Errorf("setting up scaling: %w", err)
		}
	}
	if err := d.Manager.Add(s); err != nil {
		return nil, fmt.Errorf("setting up scaling: %w", err)
	}
	d.Signals.AddExternal(s)
	if d.Web != nil {
		s.addPages(d.Web)
	}
	return s, nil
}

func scaleClient(m ctrl.Manager) (scale.ScalesGetter, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(m.GetConfig(), m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making a client of scales: %w", err)
	}
	c, err := scale.NewForConfig(m.GetConfig(), m.GetRESTMapper(), dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(d))
	if err != nil {
		return nil, fmt.Errorf("making a client of scales: %w", err)
	}
	return c, nil
}

func watchWorkloads(m ctrl.Manager, s *Scaler) error {
	for kind, object := range map[string]client.Object{"Deployment": &appsv1.Deployment{}, "StatefulSet": &appsv1.StatefulSet{}} {
		informer, err := m.GetCache().GetInformer(context.Background(), object)
		if err != nil {
			return err
		}
		if _, err := informer.AddEventHandler(s.observe(kind)); err != nil {
			return err
		}
	}
	return nil
}

func addIndexes(indexer client.FieldIndexer) error {
	ctx := context.Background()
	for _, index := range []struct {
		object client.Object
		name   string
		values client.IndexerFunc
	}{
		{&kedav1alpha1.ScaledObject{}, targetIndex, func(o client.Object) []string {
			if ref := o.(*kedav1alpha1.ScaledObject).Spec.ScaleTargetRef; ref != nil {
				return []string{ref.Name}
			}
			return nil
		}},
		{&autoscalingv2.HorizontalPodAutoscaler{}, targetIndex, func(o client.Object) []string {
			return []string{o.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef.Name}
		}},
		{&kedav1alpha1.ScaledObject{}, authIndex, func(o client.Object) []string {
			return authsOf(o.(*kedav1alpha1.ScaledObject).Spec.Triggers)
		}},
		{&kedav1alpha1.ScaledJob{}, authIndex, func(o client.Object) []string {
			return authsOf(o.(*kedav1alpha1.ScaledJob).Spec.Triggers)
		}},
	} {
		if err := indexer.IndexField(ctx, index.object, index.name, index.values); err != nil {
			return err
		}
	}
	return nil
}

func authsOf(triggers []kedav1alpha1.ScaleTriggers) []string {
	var out []string
	for _, t := range triggers {
		if ref := t.AuthenticationRef; ref != nil {
			out = append(out, orKind(ref.Kind)+"/"+ref.Name)
		}
	}
	return out
}

func (r *objects) addObjects(m ctrl.Manager) error {
	specs := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(m).Named("scaledobject").
		For(&kedav1alpha1.ScaledObject{}, builder.WithPredicates(specOrAnnotations())).
		Watches(&kedav1alpha1.ScaledObject{}, r.byTarget(), builder.WithPredicates(comesOrGoes())).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, r.byTarget(), specs).
		Watches(&appsv1.Deployment{}, r.byTarget(), builder.WithPredicates(comesOrChangesPods())).
		Watches(&appsv1.StatefulSet{}, r.byTarget(), builder.WithPredicates(comesOrChangesPods())).
		Watches(&v1alpha1.App{}, r.byTarget(), specs).
		Watches(&kedav1alpha1.TriggerAuthentication{}, r.byAuth(kindAuth, &kedav1alpha1.ScaledObjectList{}), specs).
		Watches(&kedav1alpha1.ClusterTriggerAuthentication{}, r.byAuth(kindClusterAuth, &kedav1alpha1.ScaledObjectList{}), specs).
		WithOptions(controller.Options{MaxConcurrentReconciles: reconcilers, RateLimiter: retries()}).
		Complete(r)
}

// retries repeats after a failure at 50 ms, then at twice the time before, up to 10 s.
func retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 10*time.Second)
}

func specOrAnnotations() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
}

// comesOrGoes leaves changes out.
func comesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}

// comesOrChangesPods leaves out changes that scaling itself makes.
func comesOrChangesPods() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		switch now := e.ObjectNew.(type) {
		case *appsv1.Deployment:
			before := e.ObjectOld.(*appsv1.Deployment)
			return before.Generation != now.Generation && !equality.Semantic.DeepEqual(before.Spec.Template, now.Spec.Template)
		case *appsv1.StatefulSet:
			before := e.ObjectOld.(*appsv1.StatefulSet)
			return before.Generation != now.Generation && !equality.Semantic.DeepEqual(before.Spec.Template, now.Spec.Template)
		}
		return true
	}}
}

// byTarget finds the ScaledObjects whose target is, or is scaled by, an object.
func (r *objects) byTarget() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		name := o.GetName()
		switch o := o.(type) {
		case *autoscalingv2.HorizontalPodAutoscaler:
			name = o.Spec.ScaleTargetRef.Name
		case *kedav1alpha1.ScaledObject:
			if o.Spec.ScaleTargetRef == nil {
				return nil
			}
			name = o.Spec.ScaleTargetRef.Name
		}
		return r.requests(ctx, &kedav1alpha1.ScaledObjectList{}, client.InNamespace(o.GetNamespace()), client.MatchingFields{targetIndex: name})
	})
}

// byAuth finds the objects that use a TriggerAuthentication.
func (r *objects) byAuth(kind string, list client.ObjectList) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		options := []client.ListOption{client.MatchingFields{authIndex: kind + "/" + o.GetName()}}
		if o.GetNamespace() != "" {
			options = append(options, client.InNamespace(o.GetNamespace()))
		}
		return r.requests(ctx, list.DeepCopyObject().(client.ObjectList), options...)
	})
}

func (r *objects) requests(ctx context.Context, list client.ObjectList, options ...client.ListOption) []reconcile.Request {
	if err := r.client.List(ctx, list, options...); err != nil {
		r.scaler.log.Error("objects not found again", "err", err)
		return nil
	}
	var out []reconcile.Request
	add := func(o client.Object) {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}})
	}
	switch l := list.(type) {
	case *kedav1alpha1.ScaledObjectList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *kedav1alpha1.ScaledJobList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	}
	return out
}
