package traffic

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// ControllerName is what a GatewayClass names to be served by this gateway.
const ControllerName gatewayv1.GatewayController = "escale.dev/gateway"

// Facts are the objects Compile decides on. It reads and never changes them.
type Facts struct {
	// Address is the IP address at which all listeners answer; empty when they answer at every address of the machine.
	Address    string
	Classes    []gatewayv1.GatewayClass
	Gateways   []gatewayv1.Gateway
	Routes     []gatewayv1.HTTPRoute
	Services   []corev1.Service
	Grants     []gatewayv1beta1.ReferenceGrant
	Namespaces []corev1.Namespace
}

// Statuses is what Compile has to say about each object it serves. Conditions carry no transition time: that depends
// on what the object said before. Objects of other controllers are absent.
type Statuses struct {
	Classes  map[string]gatewayv1.GatewayClassStatus
	Gateways map[types.NamespacedName]gatewayv1.GatewayStatus
	// Routes holds this controller's entries of status.parents; none where a route has no parent of ours.
	Routes map[types.NamespacedName][]gatewayv1.RouteParentStatus
}

// index is the facts by name.
type index struct {
	Facts
	classes    map[string]bool // accepted classes of ours
	services   map[types.NamespacedName]*corev1.Service
	namespaces map[string]*corev1.Namespace
	grants     map[string][]*gatewayv1beta1.ReferenceGrant // by the namespace referred to
}

func newIndex(f Facts) *index {
	x := &index{
		Facts:      f,
		classes:    map[string]bool{},
		services:   make(map[types.NamespacedName]*corev1.Service, len(f.Services)),
		namespaces: make(map[string]*corev1.Namespace, len(f.Namespaces)),
		grants:     map[string][]*gatewayv1beta1.ReferenceGrant{},
	}
	for i := range f.Classes {
		if c := &f.Classes[i]; c.Spec.ControllerName == ControllerName && c.Spec.ParametersRef == nil {
			x.classes[c.Name] = true
		}
	}
	for i := range f.Services {
		s := &f.Services[i]
		x.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	for i := range f.Namespaces {
		x.namespaces[f.Namespaces[i].Name] = &f.Namespaces[i]
	}
	for i := range f.Grants {
		g := &f.Grants[i]
		x.grants[g.Namespace] = append(x.grants[g.Namespace], g)
	}
	return x
}

// granted says whether HTTPRoutes of namespace from may refer to a Service of another namespace.
func (x *index) granted(from string, to types.NamespacedName) bool {
	for _, g := range x.grants[to.Namespace] {
		if grantFrom(g.Spec.From, from) && grantTo(g.Spec.To, to.Name) {
			return true
		}
	}
	return false
}

func grantFrom(from []gatewayv1.ReferenceGrantFrom, namespace string) bool {
	for _, f := range from {
		if f.Group == gatewayv1.GroupName && f.Kind == kindHTTPRoute && string(f.Namespace) == namespace {
			return true
		}
	}
	return false
}

func grantTo(to []gatewayv1.ReferenceGrantTo, service string) bool {
	for _, t := range to {
		if t.Group == corev1.GroupName && t.Kind == kindService && (t.Name == nil || string(*t.Name) == service) {
			return true
		}
	}
	return false
}
