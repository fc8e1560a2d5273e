package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

var scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}

// holdOff is an HPA that keeps Escale away from a workload until KEDA has made its own: of two autoscalers Escale is
// never the second.
const holdOff = "hold-off-"

// prepare makes a contender's namespace, workloads and ScaledObjects.
func (b *bench) prepare(ctx context.Context, c contender) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}
	if _, err := b.kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := b.empty(ctx, c.namespace, kind); err != nil {
			return err
		}
		if _, err := b.kube.AppsV1().Deployments(c.namespace).Create(ctx, worker(kind), metav1.CreateOptions{}); err != nil {
			return err
		}
		if c.keda {
			if _, err := b.kube.AutoscalingV2().HorizontalPodAutoscalers(c.namespace).Create(ctx, placeholder(kind), metav1.CreateOptions{}); err != nil {
				return err
			}
		}
		if _, err := b.objects.Resource(scaledObjects).Namespace(c.namespace).Create(ctx, b.scaledObject(c, kind), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// adopted waits until KEDA scales the workloads, and ends the placeholder.
func (b *bench) adopted(ctx context.Context, c contender) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	autoscalers := b.kube.AutoscalingV2().HorizontalPodAutoscalers(c.namespace)
	for _, kind := range kinds {
		for {
			if _, err := autoscalers.Get(ctx, "keda-hpa-"+kind, metav1.GetOptions{}); err == nil {
				break
			}
			if err := sleep(ctx, 200*time.Millisecond); err != nil {
				return fmt.Errorf("KEDA makes no HPA for %q: %w", kind, err)
			}
		}
		if err := autoscalers.Delete(ctx, holdOff+kind, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func worker(kind string) *appsv1.Deployment {
	labels := map[string]string{"queue": kind}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: kind, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					RuntimeClassName: ptr.To(v1alpha1.RuntimeClassProcess), AutomountServiceAccountToken: ptr.To(false),
					TerminationGracePeriodSeconds: ptr.To[int64](0),
					SecurityContext:               &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](65532), RunAsNonRoot: ptr.To(true)},
					Containers: []corev1.Container{{
						Name: "worker", Image: v1alpha1.HostImage, Command: []string{"sleep", "3600"},
						Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
							corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi"),
						}},
					}},
				},
			},
		},
	}
}

func placeholder(kind string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: holdOff + kind},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: kind},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 1,
		},
	}
}

func (b *bench) scaledObject(c contender, kind string) *unstructured.Unstructured {
	metadata := map[string]any{"queueName": c.namespace, "mode": "QueueLength", "value": "5", "host": "amqp://guest:guest@" + b.rabbit + "/"}
	if kind == "redis" {
		metadata = map[string]any{"address": b.redis, "listName": c.namespace, "listLength": "5"}
	}
	spec := map[string]any{
		"scaleTargetRef": map[string]any{"name": kind}, "minReplicaCount": int64(0), "maxReplicaCount": int64(3), "cooldownPeriod": int64(1),
		"triggers": []any{map[string]any{"type": kind, "metadata": metadata}},
	}
	if c.polling > 0 {
		spec["pollingInterval"] = int64(c.polling)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"})
	object.SetName(kind)
	return object
}

// replicasOf is what a Deployment asks for.
func replicasOf(object runtime.Object) int32 {
	if deployment, ok := object.(*appsv1.Deployment); ok && deployment.Spec.Replicas != nil {
		return *deployment.Spec.Replicas
	}
	return 0
}

// definition is a kind of eventing.keda.sh whose objects may hold anything.
func definition(kind, scope string) *unstructured.Unstructured {
	plural := strings.ToLower(kind) + "s"
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"group": "eventing.keda.sh", "scope": scope,
		"names": map[string]any{"kind": kind, "listKind": kind + "List", "plural": plural, "singular": strings.ToLower(kind)},
		"versions": []any{map[string]any{"name": "v1alpha1", "served": true, "storage": true, "schema": map[string]any{
			"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		}}},
	}}}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	object.SetName(plural + ".eventing.keda.sh")
	return object
}
