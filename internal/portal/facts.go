package portal

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
)

// facts is everything a view may know. The objects belong to the cache: views read them only.
type facts struct {
	now         time.Time
	apps        []v1alpha1.App
	deployments []appsv1.Deployment
	replicaSets []appsv1.ReplicaSet
	cronJobs    []batchv1.CronJob
	jobs        []batchv1.Job
	pods        []corev1.Pod
	routes      []gatewayv1.HTTPRoute
	nodes       []corev1.Node
	events      []corev1.Event
	records     []timeline.Record // newest first
}

// watched are the kinds that pages are made of.
func watched() []client.Object {
	return []client.Object{
		&v1alpha1.App{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &batchv1.CronJob{}, &batchv1.Job{},
		&corev1.Pod{}, &gatewayv1.HTTPRoute{}, &corev1.Node{}, &corev1.Event{},
	}
}

// gather reads the objects of one namespace, or of all for "", and the nodes.
func (p *portal) gather(ctx context.Context, namespace string) (facts, error) {
	var (
		apps        v1alpha1.AppList
		deployments appsv1.DeploymentList
		replicaSets appsv1.ReplicaSetList
		cronJobs    batchv1.CronJobList
		jobs        batchv1.JobList
		pods        corev1.PodList
		routes      gatewayv1.HTTPRouteList
		nodes       corev1.NodeList
		events      corev1.EventList
	)
	here := client.InNamespace(namespace)
	shared := client.UnsafeDisableDeepCopy // views write nothing
	for _, list := range []client.ObjectList{
		&apps, &deployments, &replicaSets, &cronJobs, &jobs, &pods, &events,
	} {
		if err := p.reader.List(ctx, list, here, shared); err != nil {
			return facts{}, fmt.Errorf("reading objects: %w", err)
		}
	}
	if err := p.reader.List(ctx, &routes, here, shared); err != nil && !meta.IsNoMatchError(err) {
		return facts{}, fmt.Errorf("reading routes: %w", err)
	}
	if err := p.reader.List(ctx, &nodes, shared); err != nil {
		return facts{}, fmt.Errorf("reading nodes: %w", err)
	}
	return facts{
		now: time.Now(), apps: apps.Items, deployments: deployments.Items, replicaSets: replicaSets.Items,
		cronJobs: cronJobs.Items, jobs: jobs.Items, pods: pods.Items, routes: routes.Items, nodes: nodes.Items,
		events: events.Items,
	}, nil
}

// appFacts is what there is of one App.
type appFacts struct {
	now         time.Time
	app         v1alpha1.App
	deployments []appsv1.Deployment
	replicaSets []appsv1.ReplicaSet
	cronJobs    []batchv1.CronJob
	jobs        []batchv1.Job
	pods        []corev1.Pod
	routes      []gatewayv1.HTTPRoute
	events      []corev1.Event // of its objects, newest first
	nodes       []corev1.Node
}

// belongs says whether o was rendered from app, or made by what was.
func belongs(app *v1alpha1.App, o client.Object) bool {
	return o.GetNamespace() == app.Namespace && o.GetLabels()[v1alpha1.LabelApp] == app.Name
}

func only[T any, P interface {
	*T
	client.Object
}](app *v1alpha1.App, all []T) []T {
	var out []T
	for i := range all {
		if belongs(app, P(&all[i])) {
			out = append(out, all[i])
		}
	}
	return out
}

// of picks what belongs to app.
func (f facts) of(app v1alpha1.App) appFacts {
	a := appFacts{
		now: f.now, app: app, nodes: f.nodes,
		deployments: only(&app, f.deployments), replicaSets: only(&app, f.replicaSets),
		cronJobs: only(&app, f.cronJobs), jobs: only(&app, f.jobs), pods: only(&app, f.pods),
		routes: only(&app, f.routes),
	}
	a.events = a.ownEvents(f.events)
	return a
}
