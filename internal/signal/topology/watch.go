package topology

import (
	"context"
	"fmt"

	"github.com/escale-dev/escale/internal/signal"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watch keeps the index up to date with what a cache watches. It returns before the cache has synced.
func (x *Index) Watch(ctx context.Context, objects cache.Cache) error {
	for _, add := range []func() error{
		func() error { return watch(ctx, objects, &appsv1.ReplicaSet{}, x.setReplicaSet, x.deleteReplicaSet) },
		func() error { return watch(ctx, objects, &appsv1.Deployment{}, x.setDeployment, x.deleteDeployment) },
		func() error { return watch(ctx, objects, &appsv1.StatefulSet{}, x.setStatefulSet, x.deleteStatefulSet) },
		func() error { return watch(ctx, objects, &appsv1.DaemonSet{}, x.setDaemonSet, x.deleteDaemonSet) },
		func() error { return watch(ctx, objects, &corev1.Service{}, x.SetService, x.DeleteService) },
		func() error { return watch(ctx, objects, &corev1.Pod{}, x.SetPod, x.DeletePod) },
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func watch[T client.Object](ctx context.Context, objects cache.Cache, kind T, set, gone func(T)) error {
	informer, err := objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching %T: %w", kind, err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { set(o.(T)) },
		UpdateFunc: func(_, o any) { set(o.(T)) },
		DeleteFunc: func(o any) {
			if missed, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = missed.Obj
			}
			if last, ok := o.(T); ok {
				gone(last)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching %T: %w", kind, err)
	}
	return nil
}

func named(kind string, o client.Object) signal.Workload {
	return signal.Workload{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// orOne is the number of replicas a spec stands for: absent is 1.
func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func (x *Index) setReplicaSet(o *appsv1.ReplicaSet) {
	x.SetReplicaSet(o, orOne(o.Spec.Replicas), o.Spec.Template.Labels)
}

func (x *Index) deleteReplicaSet(o *appsv1.ReplicaSet) { x.DeleteReplicaSet(o) }

func (x *Index) setDeployment(o *appsv1.Deployment) {
	x.SetWorkload(named("Deployment", o), orOne(o.Spec.Replicas), labels.Set(o.Spec.Template.Labels))
}

func (x *Index) deleteDeployment(o *appsv1.Deployment) { x.DeleteWorkload(named("Deployment", o)) }

func (x *Index) setStatefulSet(o *appsv1.StatefulSet) {
	x.SetWorkload(named("StatefulSet", o), orOne(o.Spec.Replicas), labels.Set(o.Spec.Template.Labels))
}

func (x *Index) deleteStatefulSet(o *appsv1.StatefulSet) { x.DeleteWorkload(named("StatefulSet", o)) }

func (x *Index) setDaemonSet(o *appsv1.DaemonSet) {
	x.SetWorkload(named("DaemonSet", o), o.Status.DesiredNumberScheduled, labels.Set(o.Spec.Template.Labels))
}

func (x *Index) deleteDaemonSet(o *appsv1.DaemonSet) { x.DeleteWorkload(named("DaemonSet", o)) }
