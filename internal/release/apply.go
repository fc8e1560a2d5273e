package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// fieldOwner is the name in managed fields of what this package writes.
const fieldOwner = "escale"

// rendered are the kinds Render makes, in the reverse of the order to apply them in: the order to remove them in.
var rendered = []schema.GroupVersionKind{
	schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute"),
	kindScaledObject,
	batchv1.SchemeGroupVersion.WithKind("CronJob"),
	appsv1.SchemeGroupVersion.WithKind("Deployment"),
	policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
	corev1.SchemeGroupVersion.WithKind("Service"),
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
}

// Apply makes the cluster's objects those that the App renders to: it applies them, records the revision in the history
// and removes objects of the App that are no longer rendered. An App that exists in the cluster owns them. It fails,
// naming the object, where one of the same name belongs to someone else. now is when a new revision counts as released.
//
// The client must read from the API server, not from a cache.
func Apply(ctx context.Context, c client.Client, app v1alpha1.App, now time.Time) (Applied, error) {
	applied, _, err := apply(ctx, c, app, now)
	return applied, err
}

// apply is Apply; it also returns the objects as the API server has them.
func apply(ctx context.Context, c client.Client, app v1alpha1.App, now time.Time) (Applied, []*unstructured.Unstructured, error) {
	app, scaled, err := yield(ctx, c, withNamespace(app, RenderOptions{}))
	if err != nil {
		return Applied{}, nil, fmt.Errorf("applying App %q: %w", app.Name, err)
	}
	objects, err := Render(app, RenderOptions{})
	if err != nil {
		return Applied{}, nil, err
	}
	revision, err := Revision(app)
	if err != nil {
		return Applied{}, nil, err
	}
	for _, o := range objects {
		if scaled && o.GetKind() == "Deployment" {
			err = handOver(ctx, c, app, o)
		}
		if err == nil {
			err = applyObject(ctx, c, app, o)
		}
		if err != nil {
			return Applied{}, nil, fmt.Errorf("applying App %q: %w", app.Name, err)
		}
	}
	applied, err := recordRevision(ctx, c, app, revision, now)
	if err != nil {
		return Applied{}, nil, err
	}
	return applied, objects, prune(ctx, c, app, objects)
}

func applyObject(ctx context.Context, c client.Client, app v1alpha1.App, o *unstructured.Unstructured) error {
	if err := claim(ctx, c, app, o); err != nil {
		return err
	}
	o.SetOwnerReferences(owners(app))
	if o.GetKind() == "Deployment" && app.Spec.Scale != nil {
		if err := handOver(ctx, c, app, o); err != nil {
			return err
		}
	}
	return put(ctx, c, o)
}

// claim refuses to take an object that was not rendered from this App.
func claim(ctx context.Context, c client.Client, app v1alpha1.App, o *unstructured.Unstructured) error {
	var have metav1.PartialObjectMetadata
	have.SetGroupVersionKind(o.GroupVersionKind())
	err := c.Get(ctx, client.ObjectKeyFromObject(o), &have)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case isNoKind(err):
		return fmt.Errorf("the cluster has no %s: %s", o.GetKind(), missing(o.GetKind()))
	case err != nil:
		return fmt.Errorf("reading %s %q: %w", o.GetKind(), o.GetName(), err)
	case have.Labels[v1alpha1.LabelApp] != app.Name:
		return fmt.Errorf("%s %q exists and does not belong to the App: rename the App, or label the object %s=%s to hand it over",
			o.GetKind(), o.GetName(), v1alpha1.LabelApp, app.Name)
	}
	return nil
}

// missing is the next step where the cluster lacks a kind.
func missing(kind string) string {
	if kind == kindScaledObject.Kind {
		return "install Escale or KEDA, or set replicas instead of scale"
	}
	return "install the Gateway API, or remove route"
}

// put applies an object and replaces it by what the API server made of it.
func put(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
	kind, name := o.GetKind(), o.GetName()
	err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(fieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return nil
}

// owners makes the App's objects go when it goes.
func owners(app v1alpha1.App) []metav1.OwnerReference {
	if app.UID == "" {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "App", Name: app.Name, UID: app.UID,
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}}
}

// prune removes the App's objects that are not among those wanted.
func prune(ctx context.Context, c client.Client, app v1alpha1.App, wanted []*unstructured.Unstructured) error {
	keep := map[string]bool{}
	for _, o := range wanted {
		keep[o.GetKind()+"/"+o.GetName()] = true
	}
	for _, gvk := range rendered {
		list, err := owned(ctx, c, app, gvk)
		if err != nil {
			return err
		}
		for _, o := range list {
			if keep[gvk.Kind+"/"+o.Name] {
				continue
			}
			if err := remove(ctx, c, gvk, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// owned lists the App's objects of one kind; none where the cluster does not have the kind.
func owned(ctx context.Context, c client.Client, app v1alpha1.App, gvk schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(gvk)
	err := c.List(ctx, &list, client.InNamespace(app.Namespace),
		client.MatchingLabels{v1alpha1.LabelApp: app.Name, labelManagedBy: managedBy})
	if isNoKind(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the %ss of App %q: %w", gvk.Kind, app.Name, err)
	}
	return list.Items, nil
}

func remove(ctx context.Context, c client.Client, gvk schema.GroupVersionKind, o metav1.PartialObjectMetadata) error {
	o.SetGroupVersionKind(gvk)
	err := c.Delete(ctx, &o, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("removing %s %q: %w", gvk.Kind, o.Name, err)
	}
	return nil
}

// isNoKind says that the cluster does not have a kind.
func isNoKind(err error) bool { return err != nil && meta.IsNoMatchError(err) }

// ErrNoApp says that there is no App of this name.
var ErrNoApp = errors.New("no such App")

// Delete removes an App and all that was rendered from it; its pods finish their requests first, which Delete does not
// wait for. ErrNoApp where there is none.
//
// The objects are removed here although they belong to the App: the garbage collector of a cluster whose definitions
// are new takes half a minute to learn of the kind.
func Delete(ctx context.Context, c client.Client, namespace, name string) error {
	app := v1alpha1.App{}
	app.Namespace, app.Name = namespace, name
	err := c.Delete(ctx, &app, client.PropagationPolicy(metav1.DeletePropagationBackground))
	found := err == nil
	if err != nil && !apierrors.IsNotFound(err) && !isNoKind(err) {
		return fmt.Errorf("deleting App %q: %w", name, err)
	}
	for _, gvk := range append(slices.Clone(rendered), appsv1.SchemeGroupVersion.WithKind("ControllerRevision")) {
		list, err := owned(ctx, c, app, gvk)
		if err != nil {
			return err
		}
		for _, o := range list {
			found = true
			if err := remove(ctx, c, gvk, o); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("deleting App %q in namespace %q: %w", name, namespace, ErrNoApp)
	}
	return nil
}
