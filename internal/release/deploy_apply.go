package release

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serial passes events on, one at a time, and says since when they are so.
type serial struct {
	mu   sync.Mutex
	tell func(Event)
}

func (s *serial) send(e Event) {
	if s.tell == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Since.IsZero() {
		e.Since = time.Now()
	}
	s.tell(e)
}

// newScheme knows the kinds that a deployment reads and writes.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{AddToScheme, apiextensionsv1.AddToScheme, schedulingv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("registering kinds: %w", err)
		}
	}
	return s, nil
}

// apply brings the file into the cluster: namespaces, definitions, other objects, and then the Apps all at once.
func (d *deploy) apply(ctx context.Context, apps []v1alpha1.App) ([]target, error) {
	objects := slices.Clone(d.File.Objects)
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	defined := 0
	for _, o := range objects {
		if rank(o) <= rankDefinition {
			defined++
		}
	}
	if err := d.applyAll(ctx, objects[:defined]); err != nil {
		return nil, err
	}
	if err := d.namespaces(ctx, apps, objects[defined:]); err != nil {
		return nil, err
	}
	if err := d.applyAll(ctx, objects[defined:]); err != nil {
		return nil, err
	}
	if err := d.priorities(ctx, apps); err != nil {
		return nil, err
	}
	targets := make([]target, 0, len(apps))
	for _, app := range apps {
		t, err := d.applyApp(ctx, app)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
		d.tell(app, Event{Step: StepApplied, Revision: t.revision, Image: app.Spec.Image})
	}
	return targets, nil
}

// The order in which kinds need each other.
const (
	rankNamespace = iota
	rankDefinition
	rankConfig
	rankOther
)

func rank(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "Namespace":
		return rankNamespace
	case "CustomResourceDefinition":
		return rankDefinition
	case "Secret", "ConfigMap", "ServiceAccount", "PriorityClass", "RuntimeClass", "StorageClass", "PersistentVolume",
		"PersistentVolumeClaim", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "LimitRange", "ResourceQuota":
		return rankConfig
	}
	return rankOther
}

func (d *deploy) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		o := o.DeepCopy()
		if err := d.place(o); err != nil {
			return err
		}
		if err := put(ctx, d.client, o); err != nil {
			return fmt.Errorf("applying %w", err)
		}
		if rank(o) == rankDefinition {
			if err := d.established(ctx, o.GetName()); err != nil {
				return err
			}
		}
		d.events.send(Event{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Step: StepApplied})
	}
	return nil
}

// place gives an object its namespace, where its kind has one.
func (d *deploy) place(o *unstructured.Unstructured) error {
	gvk := o.GroupVersionKind()
	mapping, err := d.client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if isNoKind(err) {
		return fmt.Errorf("applying %s %q: the cluster does not know %s: install what defines it, or correct apiVersion and kind",
			gvk.Kind, o.GetName(), gvk.GroupVersion().WithKind(gvk.Kind))
	}
	if err != nil {
		return fmt.Errorf("applying %s %q: %w", gvk.Kind, o.GetName(), err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace && o.GetNamespace() == "" {
		o.SetNamespace(d.Namespace)
	}
	return nil
}

// established waits until the API server serves a definition.
func (d *deploy) established(ctx context.Context, name string) error {
	w, err := client.NewWithWatch(d.Config, client.Options{Scheme: d.client.Scheme()})
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	watch, err := w.Watch(ctx, &apiextensionsv1.CustomResourceDefinitionList{}, client.MatchingFields{"metadata.name": name})
	if err != nil {
		return fmt.Errorf("watching definition %q: %w", name, err)
	}
	defer watch.Stop()
	for e := range watch.ResultChan() {
		crd, ok := e.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			continue
		}
		for _, c := range crd.Status.Conditions {
			if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
	}
	return fmt.Errorf("definition %q is not served: %w", name, context.Cause(ctx))
}

// namespaces makes those that are missing.
func (d *deploy) namespaces(ctx context.Context, apps []v1alpha1.App, objects []*unstructured.Unstructured) error {
	needed := map[string]bool{}
	for _, app := range apps {
		needed[app.Namespace] = true
	}
	for _, o := range objects {
		if o.GetNamespace() != "" {
			needed[o.GetNamespace()] = true
		}
	}
	if len(objects) > 0 {
		needed[d.Namespace] = true
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		err := d.client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
		if err == nil || apierrors.IsForbidden(err) {
			continue // who may not look may not make one either
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading namespace %q: %w", name, err)
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := d.client.Create(ctx, ns); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making namespace %q: %w", name, err)
		}
	}
	return nil
}

// priorities makes the PriorityClasses that the Apps name and the cluster does not have.
func (d *deploy) priorities(ctx context.Context, apps []v1alpha1.App) error {
	used := map[string]bool{}
	for _, app := range apps {
		used[priorityClass(app.Spec.Priority)] = true
	}
	for _, o := range priorityClasses() {
		class, ok := o.(*schedulingv1.PriorityClass)
		if !ok || !used[class.Name] {
			continue
		}
		if err := d.client.Create(ctx, class); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making PriorityClass %q: %w", class.Name, err)
		}
	}
	return nil
}

// applyApp writes the App, or, in a cluster that has no Apps, what it renders to.
func (d *deploy) applyApp(ctx context.Context, app v1alpha1.App) (target, error) {
	revision, err := Revision(app)
	if err != nil {
		return target{}, err
	}
	t := target{key: client.ObjectKeyFromObject(&app), app: app, revision: revision}
	if d.managed {
		have, err := PutApp(ctx, d.client, app)
		t.generation = have.Generation
		return t, err
	}
	_, objects, err := apply(ctx, d.client, app, time.Now())
	for _, o := range objects {
		if o.GetKind() == "Deployment" || o.GetKind() == "CronJob" {
			t.generation = o.GetGeneration()
		}
	}
	return t, err
}

// PutApp makes the cluster's App have exactly this spec, and these labels and annotations beside those it has. It
// replaces rather than merges: the spec is the whole truth, and a field that is gone from it is gone.
func PutApp(ctx context.Context, c client.Client, app v1alpha1.App) (v1alpha1.App, error) {
	var have v1alpha1.App
	err := retry.OnError(retry.DefaultRetry, raced, func() error {
		err := c.Get(ctx, client.ObjectKeyFromObject(&app), &have)
		if apierrors.IsNotFound(err) {
			have = *app.DeepCopy()
			return c.Create(ctx, &have, client.FieldOwner(fieldOwner))
		}
		if err != nil {
			return err
		}
		app.Spec.DeepCopyInto(&have.Spec)
		have.Labels = merged(have.Labels, app.Labels)
		have.Annotations = merged(have.Annotations, app.Annotations)
		return c.Update(ctx, &have, client.FieldOwner(fieldOwner))
	})
	if err != nil {
		return have, fmt.Errorf("writing App %q: %w", app.Name, err)
	}
	return have, nil
}

// raced says that another writer came first.
func raced(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

func merged(have, set map[string]string) map[string]string {
	if len(set) == 0 {
		return have
	}
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, set)
	return out
}
