package traffic

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// compileMatches makes an entry of each match of a rule; bad names the first field that is not understood.
func compileMatches(field string, matches []gatewayv1.HTTPRouteMatch) (entries []*entry, bad string) {
	if len(matches) == 0 {
		matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	for i := range matches {
		e, bad := compileMatch(fmt.Sprintf("%s.matches[%d]", field, i), &matches[i])
		if bad != "" {
			return nil, bad
		}
		entries = append(entries, e)
	}
	return entries, ""
}

func compileMatch(field string, m *gatewayv1.HTTPRouteMatch) (*entry, string) {
	e := &entry{}
	if bad := e.setPath(field+".path", m.Path); bad != "" {
		return nil, bad
	}
	if m.Method != nil {
		e.method = string(*m.Method)
	}
	for i, h := range m.Headers {
		if h.Type != nil && *h.Type != gatewayv1.HeaderMatchExact {
			return nil, unsupported(fmt.Sprintf("%s.headers[%d].type", field, i), string(*h.Type))
		}
		e.headers = append(e.headers, pair{http.CanonicalHeaderKey(string(h.Name)), h.Value})
	}
	for i, q := range m.QueryParams {
		if q.Type != nil && *q.Type != gatewayv1.QueryParamMatchExact {
			return nil, unsupported(fmt.Sprintf("%s.queryParams[%d].type", field, i), string(*q.Type))
		}
		e.query = append(e.query, pair{string(q.Name), q.Value})
	}
	return e, ""
}

func (e *entry) setPath(field string, m *gatewayv1.HTTPPathMatch) string {
	value, kind := "/", gatewayv1.PathMatchPathPrefix
	if m != nil && m.Value != nil {
		value = *m.Value
	}
	if m != nil && m.Type != nil {
		kind = *m.Type
	}
	decoded, err := decodePath(value)
	if err != nil {
		return fmt.Sprintf("%s.value %q: %v", field, value, err)
	}
	switch kind {
	case gatewayv1.PathMatchExact:
		e.exact, e.path = true, decoded
	case gatewayv1.PathMatchPathPrefix:
		e.path = strings.TrimSuffix(decoded, "/")
	default:
		return unsupported(field+".type", string(kind))
	}
	return ""
}

func unsupported(field, value string) string {
	return fmt.Sprintf("%s %q is not supported", field, value)
}

// rule compiles what happens to requests that match. Its backends that cannot be used are returned as well; they keep
// their share of the requests, which is answered 500.
func (c *compiler) rule(namespace, route, field string, spec *gatewayv1.HTTPRouteRule) (*rule, []verdict) {
	r := &rule{route: route, series: c.seriesOf(route, "")}
	set, bad := compileFilters(field+".filters", spec.Filters)
	if bad == "" {
		bad = prefixNeeded(field, set, spec.Matches)
	}
	r.request, r.response, r.redirect, r.fail = set.request, set.response, set.redirect, bad
	if bad := r.setTimeouts(field, spec.Timeouts); bad != "" {
		r.fail = bad
	}
	var unresolved []verdict
	for i := range spec.BackendRefs {
		t, v := c.target(namespace, route, fmt.Sprintf("%s.backendRefs[%d]", field, i), &spec.BackendRefs[i])
		if !v.ok() {
			unresolved = append(unresolved, v)
		}
		if set.redirect != nil || t.weight == 0 {
			continue
		}
		r.targets = append(r.targets, t)
		r.totalWeight += t.weight
	}
	return r, unresolved
}

// prefixNeeded refuses the replacement of a prefix where a match is of no prefix.
func prefixNeeded(field string, set filterSet, matches []gatewayv1.HTTPRouteMatch) string {
	if set.request.path.kind != replacePrefix && (set.redirect == nil || set.redirect.path.kind != replacePrefix) {
		return ""
	}
	for i, m := range matches {
		if m.Path != nil && m.Path.Type != nil && *m.Path.Type != gatewayv1.PathMatchPathPrefix {
			return fmt.Sprintf("%s.filters replace a prefix, and %[1]s.matches[%d] has none", field, i)
		}
	}
	return ""
}

func (r *rule) setTimeouts(field string, t *gatewayv1.HTTPRouteTimeouts) string {
	if t == nil {
		return ""
	}
	for _, d := range []struct {
		name string
		spec *gatewayv1.Duration
		to   *time.Duration
	}{{"request", t.Request, &r.timeout}, {"backendRequest", t.BackendRequest, &r.backendTimeout}} {
		if d.spec == nil {
			continue
		}
		parsed, err := time.ParseDuration(string(*d.spec))
		if err != nil {
			return fmt.Sprintf("%s.timeouts.%s: %v", field, d.name, err)
		}
		*d.to = parsed
	}
	return ""
}

// target resolves a backend reference.
func (c *compiler) target(namespace, route, field string, ref *gatewayv1.HTTPBackendRef) (target, verdict) {
	t := target{weight: 1}
	if ref.Weight != nil {
		t.weight = int64(*ref.Weight)
	}
	set, bad := compileFilters(field+".filters", ref.Filters)
	if bad == "" && set.onlyForRules() {
		bad = field + ".filters: a backend can only have header modifiers"
	}
	t.request, t.response = set.request, set.response
	key, v := c.resolve(namespace, field, &ref.BackendObjectReference)
	if v.ok() && bad != "" {
		v = verdict{string(gatewayv1.RouteReasonUnsupportedValue), bad}
	}
	t.series = c.seriesOf(route, key.String())
	if v.ok() {
		t.backend = c.backend(key)
	}
	t.fail = v.message
	return t, v
}

// resolve finds the port of the Service that a reference names. The key names it as well as it can be where the
// verdict is bad.
func (c *compiler) resolve(namespace, field string, ref *gatewayv1.BackendObjectReference) (BackendKey, verdict) {
	name := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	key := BackendKey{Namespace: name.Namespace, Service: name.Name}
	if ref.Port != nil {
		key.Port = *ref.Port
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != kindService {
		return key, verdict{string(gatewayv1.RouteReasonInvalidKind), field + " is not a Service"}
	}
	if name.Namespace != namespace && !c.granted(namespace, name) {
		return key, verdict{
			string(gatewayv1.RouteReasonRefNotPermitted),
			fmt.Sprintf("%s: no ReferenceGrant in namespace %q lets HTTPRoutes of %q use Service %q", field, name.Namespace, namespace, name.Name),
		}
	}
	service := c.services[name]
	if service == nil {
		return key, verdict{string(gatewayv1.RouteReasonBackendNotFound), fmt.Sprintf("%s: there is no Service %q", field, name)}
	}
	return key, key.setPort(field, service)
}

// setPort takes name and protocol from the port of the Service.
func (k *BackendKey) setPort(field string, service *corev1.Service) verdict {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return verdict{
			string(gatewayv1.RouteReasonUnsupportedValue),
			fmt.Sprintf("%s: Service %q is of type ExternalName, which is not supported", field, nameOf(service)),
		}
	}
	for _, p := range service.Spec.Ports {
		if p.Port != k.Port || p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		k.PortName = p.Name
		protocol := ""
		if p.AppProtocol != nil {
			protocol = *p.AppProtocol
		}
		switch protocol {
		case "", "http", "kubernetes.io/ws":
		case "kubernetes.io/h2c":
			k.H2C = true
		default:
			return verdict{
				string(gatewayv1.RouteReasonUnsupportedProtocol),
				fmt.Sprintf("%s: appProtocol %q of Service %q is not supported", field, protocol, nameOf(service)),
			}
		}
		return verdict{}
	}
	return verdict{
		string(gatewayv1.RouteReasonBackendNotFound),
		fmt.Sprintf("%s: Service %q has no TCP port %d", field, nameOf(service), k.Port),
	}
}

// String is "namespace/service:port".
func (k BackendKey) String() string { return fmt.Sprintf("%s/%s:%d", k.Namespace, k.Service, k.Port) }
