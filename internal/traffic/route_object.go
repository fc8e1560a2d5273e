package traffic

import (
	"cmp"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routeObject is a route of any kind, as far as attaching it to listeners goes.
type routeObject struct {
	*metav1.ObjectMeta
	kind      string
	common    *gatewayv1.CommonRouteSpec
	hostnames []gatewayv1.Hostname
	// rules of an HTTPRoute, or of a GRPCRoute in their form.
	rules []gatewayv1.HTTPRouteRule
	// streams are the rules of a TLSRoute.
	streams []gatewayv1.TLSRouteRule
}

// routeObjects are all routes, the oldest first, which has precedence where two are in each other's way.
func (f *Facts) routeObjects() []*routeObject {
	list := make([]*routeObject, 0, len(f.Routes)+len(f.GRPCRoutes)+len(f.TLSRoutes))
	for i := range f.Routes {
		list = append(list, httpObject(&f.Routes[i]))
	}
	for i := range f.GRPCRoutes {
		list = append(list, grpcObject(&f.GRPCRoutes[i]))
	}
	for i := range f.TLSRoutes {
		list = append(list, tlsObject(&f.TLSRoutes[i]))
	}
	sortRoutes(list)
	return list
}

// sortRoutes puts the oldest first.
func sortRoutes(list []*routeObject) {
	slices.SortStableFunc(list, func(a, b *routeObject) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.kind, b.kind))
	})
}

func httpObject(r *gatewayv1.HTTPRoute) *routeObject {
	return &routeObject{
		ObjectMeta: &r.ObjectMeta, kind: kindHTTPRoute, common: &r.Spec.CommonRouteSpec, hostnames: r.Spec.Hostnames, rules: r.Spec.Rules,
	}
}

func grpcObject(r *gatewayv1.GRPCRoute) *routeObject {
	return &routeObject{
		ObjectMeta: &r.ObjectMeta, kind: kindGRPCRoute, common: &r.Spec.CommonRouteSpec, hostnames: r.Spec.Hostnames, rules: httpRules(r.Spec.Rules),
	}
}

func tlsObject(r *gatewayv1.TLSRoute) *routeObject {
	return &routeObject{
		ObjectMeta: &r.ObjectMeta, kind: kindTLSRoute, common: &r.Spec.CommonRouteSpec, hostnames: r.Spec.Hostnames, streams: r.Spec.Rules,
	}
}

// httpRules writes the rules of a GRPCRoute as those of an HTTPRoute: a call is a POST to /service/method.
func httpRules(rules []gatewayv1.GRPCRouteRule) []gatewayv1.HTTPRouteRule {
	out := make([]gatewayv1.HTTPRouteRule, 0, len(rules))
	for _, r := range rules {
		h := gatewayv1.HTTPRouteRule{Name: r.Name, Filters: httpFilters(r.Filters), SessionPersistence: r.SessionPersistence}
		for _, m := range r.Matches {
			h.Matches = append(h.Matches, httpMatch(m))
		}
		for _, b := range r.BackendRefs {
			h.BackendRefs = append(h.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: b.BackendRef, Filters: httpFilters(b.Filters)})
		}
		out = append(out, h)
	}
	return out
}

func httpFilters(filters []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	var out []gatewayv1.HTTPRouteFilter
	for _, f := range filters {
		out = append(out, gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return out
}

func httpMatch(m gatewayv1.GRPCRouteMatch) gatewayv1.HTTPRouteMatch {
	h := gatewayv1.HTTPRouteMatch{Path: methodPath(m.Method)}
	for _, header := range m.Headers {
		h.Headers = append(h.Headers, gatewayv1.HTTPHeaderMatch{
			Type: (*gatewayv1.HeaderMatchType)(header.Type), Name: gatewayv1.HTTPHeaderName(header.Name), Value: header.Value,
		})
	}
	return h
}

// methodPath is the path of the calls that a method match stands for; nil for every call.
func methodPath(m *gatewayv1.GRPCMethodMatch) *gatewayv1.HTTPPathMatch {
	if m == nil {
		return nil
	}
	service, method := deref(m.Service, ""), deref(m.Method, "")
	kind, value := gatewayv1.PathMatchRegularExpression, ""
	switch pattern := m.Type != nil && *m.Type == gatewayv1.GRPCMethodMatchRegularExpression; {
	case service == "" && method == "":
		return nil
	case !pattern && method == "":
		kind, value = gatewayv1.PathMatchPathPrefix, "/"+service
	case !pattern && service != "":
		kind, value = gatewayv1.PathMatchExact, "/"+service+"/"+method
	case !pattern:
		value = "/[^/]+/" + regexp.QuoteMeta(method)
	default:
		value = "/" + anyIfEmpty(service) + "/" + anyIfEmpty(method)
	}
	return &gatewayv1.HTTPPathMatch{Type: &kind, Value: &value}
}

func anyIfEmpty(pattern string) string {
	if pattern == "" {
		return "[^/]+"
	}
	return "(?:" + pattern + ")"
}
