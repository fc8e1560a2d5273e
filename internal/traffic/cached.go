package traffic

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Cached says how a manager's cache should keep routes, of which there are thousands: without what nobody reads, and with
// one copy of what is the same in all. It is for cache.Options.ByObject.
func Cached() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&gatewayv1.HTTPRoute{}: {Transform: slimmer(func(r *gatewayv1.HTTPRoute) {
			slimRoute(&r.ObjectMeta, &r.Spec.CommonRouteSpec, &r.Status.RouteStatus)
			for i := range r.Spec.Rules {
				slimRule(&r.Spec.Rules[i])
			}
		})},
		&gatewayv1.GRPCRoute{}: {Transform: slimmer(func(r *gatewayv1.GRPCRoute) {
			slimRoute(&r.ObjectMeta, &r.Spec.CommonRouteSpec, &r.Status.RouteStatus)
		})},
		&gatewayv1.TLSRoute{}: {Transform: slimmer(func(r *gatewayv1.TLSRoute) {
			slimRoute(&r.ObjectMeta, &r.Spec.CommonRouteSpec, &r.Status.RouteStatus)
		})},
	}
}

func slimmer[T any](slim func(*T)) func(any) (any, error) {
	return func(object any) (any, error) {
		if o, ok := object.(*T); ok {
			slim(o)
		}
		return object, nil
	}
}

func slimRoute(m *metav1.ObjectMeta, spec *gatewayv1.CommonRouteSpec, status *gatewayv1.RouteStatus) {
	m.ManagedFields = nil
	delete(m.Annotations, corev1.LastAppliedConfigAnnotation)
	m.Namespace = intern(m.Namespace)
	for i := range spec.ParentRefs {
		slimParent(&spec.ParentRefs[i])
	}
	for i := range status.Parents {
		p := &status.Parents[i]
		p.ControllerName = intern(p.ControllerName)
		slimParent(&p.ParentRef)
		for j := range p.Conditions {
			c := &p.Conditions[j]
			c.Type, c.Status, c.Reason, c.Message = intern(c.Type), intern(c.Status), intern(c.Reason), intern(c.Message)
		}
	}
}

func slimParent(p *gatewayv1.ParentReference) {
	p.Name = intern(p.Name)
	p.Group = oneOf(p.Group, &apiGroup)
	p.Kind = oneOf(p.Kind, &gatewayKind)
}

// What nearly all routes say, by the API's defaults.
var (
	apiGroup, coreGroup      = gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Group("")
	gatewayKind, serviceKind = gatewayv1.Kind(kindGateway), gatewayv1.Kind(kindService)
	prefixMatch              = gatewayv1.PathMatchPathPrefix
	rootPath                 = "/"
	oneWeight                = int32(1)
)

func slimRule(r *gatewayv1.HTTPRouteRule) {
	for i := range r.Matches {
		if p := r.Matches[i].Path; p != nil {
			p.Type, p.Value = oneOf(p.Type, &prefixMatch), oneOf(p.Value, &rootPath)
		}
	}
	for i := range r.BackendRefs {
		b := &r.BackendRefs[i]
		b.Group, b.Kind, b.Weight = oneOf(b.Group, &coreGroup), oneOf(b.Kind, &serviceKind), oneOf(b.Weight, &oneWeight)
	}
}

// oneOf is common instead of a copy of it.
func oneOf[T comparable](p, common *T) *T {
	if p != nil && *p == *common {
		return common
	}
	return p
}

// intern is one copy of all strings that are equal.
func intern[T ~string](s T) T { return unique.Make(s).Value() }
