package release

import (
	"fmt"

	"github.com/escale-dev/escale/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// GatewayController is the controller name of the GatewayClass "escale".
const GatewayController gatewayv1.GatewayController = "escale.dev/gateway"

// ClusterObjects are the objects that rendered Apps refer to, in the order to apply them in: the PriorityClasses, the
// RuntimeClass of programs, and the default Gateway, which listens on gatewayPort.
func ClusterObjects(gatewayPort int32) ([]*unstructured.Unstructured, error) {
	objects := priorityClasses()
	objects = append(objects, runtimeClass(), systemNamespace(), gatewayClass(), gateway(gatewayPort))
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		u, err := toUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("rendering the objects of the cluster: %w", err)
		}
		u.SetLabels(map[string]string{labelManagedBy: managedBy})
		out = append(out, u)
	}
	return out, nil
}

func priorityClass(p v1alpha1.Priority) string { return "escale-" + string(p) }

func priorityClasses() []runtime.Object {
	var out []runtime.Object
	for _, p := range []struct {
		priority v1alpha1.Priority
		value    int32
	}{{v1alpha1.PriorityHigh, 5}, {v1alpha1.PriorityDefault, 0}, {v1alpha1.PriorityLow, -5}} {
		out = append(out, &schedulingv1.PriorityClass{
			TypeMeta:    metav1.TypeMeta{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass"},
			ObjectMeta:  metav1.ObjectMeta{Name: priorityClass(p.priority)},
			Value:       p.value,
			Description: fmt.Sprintf("Apps with priority %q.", p.priority),
		})
	}
	return out
}

func runtimeClass() runtime.Object {
	return &nodev1.RuntimeClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: "node.k8s.io/v1", Kind: "RuntimeClass"},
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.RuntimeClassProcess},
		Handler:    "process",
	}
}

func systemNamespace() runtime.Object {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: gatewayNamespace},
	}
}

func gatewayClass() runtime.Object {
	return &gatewayv1.GatewayClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "GatewayClass"},
		ObjectMeta: metav1.ObjectMeta{Name: gatewayName},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: GatewayController},
	}
}

func gateway(port int32) runtime.Object {
	return &gatewayv1.Gateway{
		TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{Name: gatewayName, Namespace: gatewayNamespace},
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: gatewayName,
			Listeners: []gatewayv1.Listener{{
				Name:     "http",
				Port:     port,
				Protocol: gatewayv1.HTTPProtocolType,
				AllowedRoutes: &gatewayv1.AllowedRoutes{
					Namespaces: &gatewayv1.RouteNamespaces{From: ptr.To(gatewayv1.NamespacesFromAll)},
				},
			}},
		},
	}
}
