package release

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Facts are all that is known of one App at one time. Observe turns them into a status. The lists are sorted by name.
type Facts struct {
	// Now is when the facts were gathered.
	Now time.Time
	// App as the cluster has it. In a cluster without the kind it is made up from the App's history.
	App v1alpha1.App
	// Managed is true where the App exists in the cluster, and false where its objects alone do.
	Managed bool
	// ApplyError is why the objects could not be applied. Only who applies them knows.
	ApplyError string
	// GatewayURL is the address of the gateway that serves the route; empty where it is not known.
	GatewayURL string

	Deployment  *appsv1.Deployment
	CronJob     *batchv1.CronJob
	ReplicaSets []appsv1.ReplicaSet
	Jobs        []batchv1.Job
	Pods        []corev1.Pod
	Route       *gatewayv1.HTTPRoute

	// autoscaler scales the Deployment of an App with a fixed number of pods, which has no effect then.
	autoscaler *autoscaler
}

// Gather reads the facts of one App, also where the cluster does not have the kind App. ErrNoApp where there is none.
func Gather(ctx context.Context, r client.Reader, namespace, name string) (Facts, error) {
	all, err := gather(ctx, r, namespace, name)
	if err != nil {
		return Facts{}, err
	}
	if len(all) == 0 {
		return Facts{}, fmt.Errorf("reading App %q in namespace %q: %w", name, namespace, ErrNoApp)
	}
	return all[0], nil
}

// List reads the facts of every App in a namespace, or in all for "", sorted by namespace and name.
func List(ctx context.Context, r client.Reader, namespace string) ([]Facts, error) {
	return gather(ctx, r, namespace, "")
}

// gathering collects the facts of several Apps.
type gathering struct {
	ctx    context.Context
	reader client.Reader
	opts   []client.ListOption
	apps   map[types.NamespacedName]*Facts
}

func gather(ctx context.Context, r client.Reader, namespace, name string) ([]Facts, error) {
	g := gathering{ctx: ctx, reader: r, opts: []client.ListOption{client.InNamespace(namespace)}, apps: map[types.NamespacedName]*Facts{}}
	if err := g.managed(namespace, name); err != nil {
		return nil, err
	}
	if name != "" {
		g.opts = append(g.opts, client.MatchingLabels{v1alpha1.LabelApp: name})
	} else {
		g.opts = append(g.opts, client.HasLabels{v1alpha1.LabelApp})
	}
	for _, step := range []func() error{g.workloads, g.parts, g.routes, g.histories, g.gateways, func() error { return g.scalers(namespace) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	out := make([]Facts, 0, len(g.apps))
	for _, f := range g.apps {
		sortByName(f.ReplicaSets)
		sortByName(f.Jobs)
		sortByName(f.Pods)
		f.Now = time.Now()
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Facts) int {
		return cmp.Or(cmp.Compare(a.App.Namespace, b.App.Namespace), cmp.Compare(a.App.Name, b.App.Name))
	})
	return out, nil
}

func sortByName[T any, P interface {
	*T
	metav1.Object
}](list []T) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(P(&a).GetName(), P(&b).GetName()) })
}

// managed reads the Apps themselves.
func (g *gathering) managed(namespace, name string) error {
	var list v1alpha1.AppList
	if name != "" {
		var app v1alpha1.App
		err := g.reader.Get(g.ctx, client.ObjectKey{Namespace: namespace, Name: name}, &app)
		if err != nil && !apierrors.IsNotFound(err) && !isNoKind(err) {
			return fmt.Errorf("reading App %q: %w", name, err)
		}
		if err == nil {
			list.Items = append(list.Items, app)
		}
	} else if err := g.reader.List(g.ctx, &list, g.opts...); err != nil && !isNoKind(err) {
		return fmt.Errorf("listing Apps: %w", err)
	}
	for _, app := range list.Items {
		g.apps[client.ObjectKeyFromObject(&app)] = &Facts{App: app, Managed: true}
	}
	return nil
}

func (g *gathering) list(l client.ObjectList) error {
	if err := g.reader.List(g.ctx, l, g.opts...); err != nil && !isNoKind(err) {
		return fmt.Errorf("listing objects of Apps: %w", err)
	}
	return nil
}

// of is the App that an object was rendered from; nil where there is no such App.
func (g *gathering) of(o metav1.Object) *Facts {
	return g.apps[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelApp]}]
}

// found is of for an object that proves that the App exists, be it only through its objects.
func (g *gathering) found(o metav1.Object) *Facts {
	if f := g.of(o); f != nil {
		return f
	}
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelApp]}
	f := &Facts{}
	f.App.Namespace, f.App.Name = key.Namespace, key.Name
	f.App.CreationTimestamp = o.GetCreationTimestamp()
	g.apps[key] = f
	return f
}

// workloads reads what an App consists of at least.
func (g *gathering) workloads() error {
	var deployments appsv1.DeploymentList
	var jobs batchv1.CronJobList
	for _, l := range []client.ObjectList{&deployments, &jobs} {
		if err := g.list(l); err != nil {
			return err
		}
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		g.found(d).Deployment = d
	}
	for i := range jobs.Items {
		j := &jobs.Items[i]
		g.found(j).CronJob = j
	}
	return nil
}

// parts reads what the workloads made.
func (g *gathering) parts() error {
	var sets appsv1.ReplicaSetList
	var jobs batchv1.JobList
	var pods corev1.PodList
	for _, l := range []client.ObjectList{&sets, &jobs, &pods} {
		if err := g.list(l); err != nil {
			return err
		}
	}
	for i := range sets.Items {
		if f := g.of(&sets.Items[i]); f != nil {
			f.ReplicaSets = append(f.ReplicaSets, sets.Items[i])
		}
	}
	for i := range jobs.Items {
		if f := g.of(&jobs.Items[i]); f != nil {
			f.Jobs = append(f.Jobs, jobs.Items[i])
		}
	}
	for i := range pods.Items {
		if f := g.of(&pods.Items[i]); f != nil {
			f.Pods = append(f.Pods, pods.Items[i])
		}
	}
	return nil
}

func (g *gathering) routes() error {
	var routes gatewayv1.HTTPRouteList
	if err := g.list(&routes); err != nil {
		return err
	}
	for i := range routes.Items {
		if f := g.of(&routes.Items[i]); f != nil && routes.Items[i].Name == f.App.Name {
			f.Route = &routes.Items[i]
		}
	}
	return nil
}

// histories gives the Apps that exist through their objects only the spec of their newest revision.
func (g *gathering) histories() error {
	unmanaged := map[types.NamespacedName][]appsv1.ControllerRevision{}
	for key, f := range g.apps {
		if !f.Managed {
			unmanaged[key] = nil
		}
	}
	if len(unmanaged) == 0 {
		return nil
	}
	var list appsv1.ControllerRevisionList
	if err := g.list(&list); err != nil {
		return err
	}
	for _, r := range list.Items {
		key := types.NamespacedName{Namespace: r.Namespace, Name: r.Labels[v1alpha1.LabelApp]}
		if _, ok := unmanaged[key]; ok {
			unmanaged[key] = append(unmanaged[key], r)
		}
	}
	for key, revisions := range unmanaged {
		history, err := entries(revisions)
		if err != nil {
			return err
		}
		if len(history) > 0 {
			g.apps[key].App.Spec = presentSpec(history[0].Spec, g.apps[key])
		}
	}
	return nil
}

// presentSpec is the spec of a revision with what its objects say of the fields that make no revision.
func presentSpec(spec v1alpha1.AppSpec, f *Facts) v1alpha1.AppSpec {
	spec.Replicas = nil
	if f.Deployment != nil && spec.Scale == nil {
		spec.Replicas = f.Deployment.Spec.Replicas
	}
	spec.Route = routeOf(f.Route)
	return spec
}

// routeOf reads back what httpRoute wrote.
func routeOf(r *gatewayv1.HTTPRoute) *v1alpha1.Route {
	if r == nil || len(r.Spec.ParentRefs) == 0 || len(r.Spec.Rules) == 0 || len(r.Spec.Rules[0].Matches) == 0 {
		return nil
	}
	route := &v1alpha1.Route{}
	if len(r.Spec.Hostnames) > 0 {
		route.Host = string(r.Spec.Hostnames[0])
	}
	if path := r.Spec.Rules[0].Matches[0].Path; path != nil {
		route.Path = ptr.Deref(path.Value, "")
	}
	parent := r.Spec.ParentRefs[0]
	route.Gateway = string(ptr.Deref(parent.Namespace, gatewayv1.Namespace(r.Namespace))) + "/" + string(parent.Name)
	return route
}

// gateways finds the addresses of routes that no status tells. Not being allowed to is no error.
func (g *gathering) gateways() error {
	known := map[types.NamespacedName]string{}
	for _, f := range g.apps {
		if f.App.Spec.Route == nil || f.App.Status.URL != "" {
			continue
		}
		namespace, name := gatewayOf(*f.App.Spec.Route)
		key := types.NamespacedName{Namespace: namespace, Name: name}
		if _, ok := known[key]; !ok {
			var gw gatewayv1.Gateway
			err := g.reader.Get(g.ctx, key, &gw)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && !isNoKind(err) {
				return fmt.Errorf("reading Gateway %q: %w", key, err)
			}
			known[key] = gatewayURL(&gw)
		}
		f.GatewayURL = known[key]
	}
	return nil
}

// Newest is the ReplicaSet of the Deployment's present pod template; nil where there is none yet.
func (f Facts) Newest() *appsv1.ReplicaSet {
	if f.Deployment == nil {
		return nil
	}
	want := f.Deployment.Spec.Template.Labels[v1alpha1.LabelRevision]
	var newest *appsv1.ReplicaSet
	for i := range f.ReplicaSets {
		rs := &f.ReplicaSets[i]
		if rs.Labels[v1alpha1.LabelRevision] != want || !metav1.IsControlledBy(rs, f.Deployment) {
			continue
		}
		// Someone who edits the Deployment makes a second one for the same revision.
		if newest == nil || newest.CreationTimestamp.Before(&rs.CreationTimestamp) {
			newest = rs
		}
	}
	return newest
}

// NewestPods are the pods of Newest that are not being removed.
func (f Facts) NewestPods() []corev1.Pod {
	rs := f.Newest()
	if rs == nil {
		return nil
	}
	var out []corev1.Pod
	for _, p := range f.Pods {
		if metav1.IsControlledBy(&p, rs) && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed {
			out = append(out, p)
		}
	}
	return out
}
