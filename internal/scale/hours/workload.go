package hours

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Unpaused is the number of replicas that stands for a ScaledObject that is free to choose.
const Unpaused = math.MaxInt32

// kind is one of the kinds that office hours serve.
type kind struct {
	name string
	make func() client.Object
	list func() client.ObjectList
}

var kinds = []kind{
	{"App", func() client.Object { return &v1alpha1.App{} }, func() client.ObjectList { return &v1alpha1.AppList{} }},
	{"CronJob", func() client.Object { return &batchv1.CronJob{} }, func() client.ObjectList { return &batchv1.CronJobList{} }},
	{"Deployment", func() client.Object { return &appsv1.Deployment{} }, func() client.ObjectList { return &appsv1.DeploymentList{} }},
	{"HorizontalPodAutoscaler", func() client.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
		func() client.ObjectList { return &autoscalingv2.HorizontalPodAutoscalerList{} }},
	{"ScaledObject", func() client.Object { return &kedav1alpha1.ScaledObject{} },
		func() client.ObjectList { return &kedav1alpha1.ScaledObjectList{} }},
	{"StatefulSet", func() client.Object { return &appsv1.StatefulSet{} }, func() client.ObjectList { return &appsv1.StatefulSetList{} }},
}

// replicas is how many replicas a workload asks for. False: it does not say, and another object does.
func replicas(o client.Object) (int32, bool) {
	switch o := o.(type) {
	case *v1alpha1.App:
		return ptr.Deref(o.Spec.Replicas, 0), o.Spec.Replicas != nil
	case *appsv1.Deployment:
		return ptr.Deref(o.Spec.Replicas, 1), true
	case *appsv1.StatefulSet:
		return ptr.Deref(o.Spec.Replicas, 1), true
	case *autoscalingv2.HorizontalPodAutoscaler:
		return ptr.Deref(o.Spec.MinReplicas, 1), true
	case *batchv1.CronJob:
		if ptr.Deref(o.Spec.Suspend, false) {
			return 0, true
		}
		return 1, true
	case *kedav1alpha1.ScaledObject:
		return paused(o)
	}
	return 0, false
}

// paused is the number a ScaledObject is paused at. One that a person has paused is left alone.
func paused(o *kedav1alpha1.ScaledObject) (int32, bool) {
	value, ok := o.Annotations[kedav1alpha1.AnnotationPausedReplicas]
	if !ok {
		return Unpaused, true
	}
	n, err := strconv.ParseInt(value, 10, 32)
	_, ours := o.Annotations[annotationOriginal]
	return int32(n), err == nil && ours
}

// change is the part of a merge patch that brings a workload to n replicas. up: to what it had.
func change(o client.Object, n int32, up bool) (spec, annotations map[string]any) {
	switch o.(type) {
	case *batchv1.CronJob:
		return map[string]any{"suspend": n == 0}, nil
	case *autoscalingv2.HorizontalPodAutoscaler:
		return map[string]any{"minReplicas": n}, nil
	case *kedav1alpha1.ScaledObject:
		if up {
			return nil, map[string]any{kedav1alpha1.AnnotationPausedReplicas: nil}
		}
		return nil, map[string]any{kedav1alpha1.AnnotationPausedReplicas: strconv.Itoa(int(n))}
	}
	return map[string]any{"replicas": n}, nil
}

// remembered is the number to come back to, as the annotation holds it. For a ScaledObject it only says that there is
// one, as for kube-downscaler.
func remembered(o client.Object, n int32) string {
	if _, ok := o.(*kedav1alpha1.ScaledObject); ok {
		n = 1
	}
	return strconv.Itoa(int(n))
}

// family is what else has a say in a workload.
type family struct {
	// layers are the annotations that count, outermost first.
	layers []map[string]string
	// left says to whom the workload is left; empty: office hours act on it.
	left string
	// template of its pods and how many of them there are; nil where that is not known.
	template *corev1.PodSpec
	pods     int32
}

// gatherFamily looks for the objects that have a say in o.
func gatherFamily(ctx context.Context, c client.Reader, o client.Object) (family, error) {
	var namespace corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: o.GetNamespace()}, &namespace); err != nil {
		return family{}, fmt.Errorf("reading namespace %q: %w", o.GetNamespace(), err)
	}
	f := family{layers: []map[string]string{namespace.Annotations}}
	if err := f.addOwner(ctx, c, o); err != nil {
		return f, err
	}
	var err error
	switch o := o.(type) {
	case *v1alpha1.App:
		var d appsv1.Deployment
		err = f.addTarget(ctx, c, client.ObjectKeyFromObject(o), &d)
	case *appsv1.Deployment:
		f.template, f.pods = &o.Spec.Template.Spec, ptr.Deref(o.Spec.Replicas, 1)
		err = f.leave(ctx, c, o)
	case *appsv1.StatefulSet:
		f.template, f.pods = &o.Spec.Template.Spec, ptr.Deref(o.Spec.Replicas, 1)
		err = f.leave(ctx, c, o)
	case *kedav1alpha1.ScaledObject:
		err = f.addScaled(ctx, c, o)
	case *autoscalingv2.HorizontalPodAutoscaler:
		err = f.addAutoscaled(ctx, c, o)
	}
	f.layers = append(f.layers, o.GetAnnotations())
	return f, err
}

// addOwner adds what the App says that a workload was rendered from.
func (f *family) addOwner(ctx context.Context, c client.Reader, o client.Object) error {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != "App" {
		return nil
	}
	var app v1alpha1.App
	err := c.Get(ctx, client.ObjectKey{Namespace: o.GetNamespace(), Name: owner.Name}, &app)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading App %q: %w", owner.Name, err)
	}
	f.layers = append(f.layers, app.Annotations)
	_, isDeployment := o.(*appsv1.Deployment)
	if isDeployment && app.Spec.Replicas != nil {
		f.left = fmt.Sprintf("App %q", app.Name)
	}
	return nil
}

// addTarget reads a workload that o controls, for its template.
func (f *family) addTarget(ctx context.Context, c client.Reader, key client.ObjectKey, target client.Object) error {
	err := c.Get(ctx, key, target)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the workload %q: %w", key, err)
	}
	switch t := target.(type) {
	case *appsv1.Deployment:
		f.template, f.pods = &t.Spec.Template.Spec, ptr.Deref(t.Spec.Replicas, 1)
	case *appsv1.StatefulSet:
		f.template, f.pods = &t.Spec.Template.Spec, ptr.Deref(t.Spec.Replicas, 1)
	}
	return nil
}

// target is the workload that an autoscaler names, if it is of a kind served here.
func target(kind, name, namespace string) (client.ObjectKey, client.Object, bool) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	switch kind {
	case "", "Deployment":
		return key, &appsv1.Deployment{}, true
	case "StatefulSet":
		return key, &appsv1.StatefulSet{}, true
	}
	return key, nil, false
}

func (f *family) addScaled(ctx context.Context, c client.Reader, o *kedav1alpha1.ScaledObject) error {
	if o.Spec.ScaleTargetRef == nil {
		return nil
	}
	key, t, ok := target(o.Spec.ScaleTargetRef.Kind, o.Spec.ScaleTargetRef.Name, o.Namespace)
	if !ok {
		return nil
	}
	err := f.addTarget(ctx, c, key, t)
	f.layers = append(f.layers, t.GetAnnotations())
	return err
}

func (f *family) addAutoscaled(ctx context.Context, c client.Reader, o *autoscalingv2.HorizontalPodAutoscaler) error {
	key, t, ok := target(o.Spec.ScaleTargetRef.Kind, o.Spec.ScaleTargetRef.Name, o.Namespace)
	if !ok {
		return nil
	}
	err := f.addTarget(ctx, c, key, t)
	f.layers = append(f.layers, t.GetAnnotations())
	f.template = nil // how many pods it would have asked for is not known
	return err
}

// leave finds the autoscaler that a workload is left to.
func (f *family) leave(ctx context.Context, c client.Reader, o client.Object) error {
	if f.left != "" || !f.said(o) {
		return nil
	}
	name, err := scaledBy(ctx, c, o)
	if err != nil {
		return err
	}
	if name != "" {
		f.left = name
		return nil
	}
	s, err := ParseSettings(append(f.layers, o.GetAnnotations())...)
	if err != nil || s.Replicas == 0 {
		return nil
	}
	f.left, err = autoscaledBy(ctx, c, o)
	return err
}

// said says whether any annotation has a say: without, nothing more is read.
func (f *family) said(o client.Object) bool {
	for _, layer := range append(f.layers, o.GetAnnotations()) {
		for key := range layer {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
	}
	return false
}

// scaledBy names the ScaledObject that scales o.
func scaledBy(ctx context.Context, c client.Reader, o client.Object) (string, error) {
	var list kedav1alpha1.ScaledObjectList
	if err := c.List(ctx, &list, client.InNamespace(o.GetNamespace())); client.IgnoreNotFound(err) != nil && !noKind(err) {
		return "", fmt.Errorf("listing ScaledObjects: %w", err)
	}
	for i := range list.Items {
		ref := list.Items[i].Spec.ScaleTargetRef
		if ref != nil && ref.Name == o.GetName() && sameKind(ref.Kind, o) {
			return fmt.Sprintf("ScaledObject %q", list.Items[i].Name), nil
		}
	}
	return "", nil
}

// autoscaledBy names the HorizontalPodAutoscaler that scales o.
func autoscaledBy(ctx context.Context, c client.Reader, o client.Object) (string, error) {
	var list autoscalingv2.HorizontalPodAutoscalerList
	if err := c.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		return "", fmt.Errorf("listing HorizontalPodAutoscalers: %w", err)
	}
	for i := range list.Items {
		ref := list.Items[i].Spec.ScaleTargetRef
		if ref.Name == o.GetName() && sameKind(ref.Kind, o) {
			return fmt.Sprintf("HorizontalPodAutoscaler %q", list.Items[i].Name), nil
		}
	}
	return "", nil
}

func sameKind(kind string, o client.Object) bool {
	switch o.(type) {
	case *appsv1.StatefulSet:
		return kind == "StatefulSet"
	case *appsv1.Deployment:
		return kind == "" || kind == "Deployment"
	}
	return false
}
