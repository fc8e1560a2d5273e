package dns

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/escale-dev/escale/internal/engine"
)

// Objects are the Service under which programs look for a cluster's resolver, kube-system/kube-dns, and its endpoint:
// the platform's address. They are complete, to be applied as they are.
func Objects(plan engine.Network) ([]*unstructured.Unstructured, error) {
	labels := map[string]string{"k8s-app": "kube-dns", "app.kubernetes.io/name": "kube-dns", "app.kubernetes.io/managed-by": "escale"}
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: labels}
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta,
		Spec: corev1.ServiceSpec{
			ClusterIP: plan.DNSService().String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}
	slice := &discovery.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: "kube-dns", Labels: map[string]string{
			discovery.LabelServiceName: "kube-dns", discovery.LabelManagedBy: "escale", "app.kubernetes.io/managed-by": "escale",
		}},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints: []discovery.Endpoint{{
			Addresses:  []string{plan.Host().String()},
			Conditions: discovery.EndpointConditions{Ready: new(true)},
		}},
		Ports: []discovery.EndpointPort{
			{Name: new("dns"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(53))},
			{Name: new("dns-tcp"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(53))},
		},
	}
	var out []*unstructured.Unstructured
	for _, o := range []runtime.Object{service, slice} {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("encoding %s %q: %w", o.GetObjectKind().GroupVersionKind().Kind, meta.Name, err)
		}
		// A status is not ours to write, and the converter writes empty ones.
		delete(fields, "status")
		u := &unstructured.Unstructured{Object: fields}
		unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
		out = append(out, u)
	}
	return out, nil
}
