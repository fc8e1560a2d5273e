package scale

import (
	"context"
	"fmt"
	"slices"
	"strings"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	kindAuth        = "TriggerAuthentication"
	kindClusterAuth = "ClusterTriggerAuthentication"
)

// auths lists in the status of authentications of one kind who uses them, so that people see what a change concerns.
type auths struct {
	client client.Client
	kind   string
}

// addAuths adds a controller for each of the two kinds.
func addAuths(m ctrl.Manager) error {
	for kind, object := range map[string]client.Object{
		kindAuth: &kedav1alpha1.TriggerAuthentication{}, kindClusterAuth: &kedav1alpha1.ClusterTriggerAuthentication{},
	} {
		r := &auths{client: m.GetClient(), kind: kind}
		specs := builder.WithPredicates(predicate.GenerationChangedPredicate{})
		err := ctrl.NewControllerManagedBy(m).Named(strings.ToLower(kind)).For(object, specs).
			Watches(&kedav1alpha1.ScaledObject{}, handler.EnqueueRequestsFromMapFunc(r.usedBy), specs).
			Watches(&kedav1alpha1.ScaledJob{}, handler.EnqueueRequestsFromMapFunc(r.usedBy), specs).
			Complete(r)
		if err != nil {
			return err
		}
	}
	return nil
}

// usedBy finds the authentications that an object uses. It is asked for the object before and after a change.
func (r *auths) usedBy(_ context.Context, o client.Object) []reconcile.Request {
	var triggers []kedav1alpha1.ScaleTriggers
	switch o := o.(type) {
	case *kedav1alpha1.ScaledObject:
		triggers = o.Spec.Triggers
	case *kedav1alpha1.ScaledJob:
		triggers = o.Spec.Triggers
	}
	var out []reconcile.Request
	for _, auth := range authsOf(triggers) {
		kind, name, _ := strings.Cut(auth, "/")
		if kind == r.kind {
			out = append(out, reconcile.Request{NamespacedName: r.key(o.GetNamespace(), name)})
		}
	}
	return out
}

func (r *auths) key(namespace, name string) types.NamespacedName {
	if r.kind == kindClusterAuth {
		namespace = ""
	}
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// Reconcile implements reconcile.Reconciler.
func (r *auths) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	o, status := r.empty()
	if err := r.client.Get(ctx, req.NamespacedName, o); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	want, err := r.users(ctx, req.NamespacedName)
	if err != nil || *status == want {
		return reconcile.Result{}, err
	}
	before := o.DeepCopyObject().(client.Object)
	*status = want
	if err := r.client.Status().Patch(ctx, o, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("writing the status of %s %q: %w", r.kind, req.Name, err)
	}
	return reconcile.Result{}, nil
}

func (r *auths) empty() (client.Object, *kedav1alpha1.TriggerAuthenticationStatus) {
	if r.kind == kindClusterAuth {
		o := &kedav1alpha1.ClusterTriggerAuthentication{}
		return o, &o.Status
	}
	o := &kedav1alpha1.TriggerAuthentication{}
	return o, &o.Status
}

// users names the objects that use an authentication, as KEDA writes them, but sorted.
func (r *auths) users(ctx context.Context, auth types.NamespacedName) (kedav1alpha1.TriggerAuthenticationStatus, error) {
	var status kedav1alpha1.TriggerAuthenticationStatus
	options := []client.ListOption{
		client.InNamespace(auth.Namespace), client.MatchingFields{authIndex: r.kind + "/" + auth.Name}, client.UnsafeDisableDeepCopy,
	}
	var objects kedav1alpha1.ScaledObjectList
	var jobs kedav1alpha1.ScaledJobList
	for _, list := range []client.ObjectList{&objects, &jobs} {
		if err := r.client.List(ctx, list, options...); err != nil {
			return status, fmt.Errorf("listing who uses %s %q: %w", r.kind, auth.Name, err)
		}
	}
	var names []string
	for i := range objects.Items {
		names = append(names, objects.Items[i].Name)
	}
	status.ScaledObjectNamesStr = joined(names)
	names = nil
	for i := range jobs.Items {
		names = append(names, jobs.Items[i].Name)
	}
	status.ScaledJobNamesStr = joined(names)
	return status, nil
}

func joined(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}
