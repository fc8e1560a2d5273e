package traffic

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
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
		e, bad := compileMatch(field+".matches["+strconv.Itoa(i)+"]", &matches[i])
		if bad != "" {
			return nil, bad
		}
		entries = append(entries, e)
	}
	return entries, ""
}

func compileMatch(field string, m *gatewayv1.HTTPRouteMatch) (*entry, string) {
	e := &entry{conditions: &conditions{}}
	if bad := e.setPath(field+".path", m.Path); bad != "" {
		return nil, bad
	}
	if m.Method != nil {
		e.method = string(*m.Method)
	}
	for i, h := range m.Headers {
		one, bad := compileValue(fmt.Sprintf("%s.headers[%d]", field, i),
			http.CanonicalHeaderKey(string(h.Name)), h.Value, string(deref(h.Type, gatewayv1.HeaderMatchExact)))
		if bad != "" {
			return nil, bad
		}
		e.headers = append(e.headers, one)
	}
	for i, q := range m.QueryParams {
		one, bad := compileValue(fmt.Sprintf("%s.queryParams[%d]", field, i),
			string(q.Name), q.Value, string(deref(q.Type, gatewayv1.QueryParamMatchExact)))
		if bad != "" {
			return nil, bad
		}
		e.query = append(e.query, one)
	}
	if e.pattern == nil && e.method == "" && e.headers == nil && e.query == nil {
		e.conditions = unconditional
	}
	return e, ""
}

// The types of matches on headers and query parameters, which have the same names in all kinds of routes.
const (
	matchExact   = "Exact"
	matchPattern = "RegularExpression"
)

func compileValue(field, name, value, kind string) (match, string) {
	m := match{pair: pair{name, value}}
	switch kind {
	case matchExact:
		return m, ""
	case matchPattern:
		var bad string
		m.pattern, bad = compilePattern(field+".value", value)
		return m, bad
	}
	return m, unsupported(field+".type", kind)
}

// compilePattern reads a regular expression in the syntax of RE2, which takes a time linear in what it is compared with.
// All of that must match.
func compilePattern(field, pattern string) (*regexp.Regexp, string) {
	if _, err := regexp.Compile(pattern); err != nil { // before the group, whose parenthesis it could close
		return nil, fmt.Sprintf("%s %q: %v", field, pattern, err)
	}
	return regexp.MustCompile("^(?:" + pattern + ")$"), ""
}

func (e *entry) setPath(field string, m *gatewayv1.HTTPPathMatch) string {
	value, kind := "/", gatewayv1.PathMatchPathPrefix
	if m != nil && m.Value != nil {
		value = *m.Value
	}
	if m != nil && m.Type != nil {
		kind = *m.Type
	}
	if kind == gatewayv1.PathMatchRegularExpression {
		var bad string
		e.kind, e.path = patternPath, value
		e.pattern, bad = compilePattern(field+".value", value)
		return bad
	}
	decoded, err := decodePath(value)
	if err != nil {
		return fmt.Sprintf("%s.value %q: %v", field, value, err)
	}
	switch kind {
	case gatewayv1.PathMatchExact:
		e.kind, e.path = exactPath, decoded
	case gatewayv1.PathMatchPathPrefix:
		e.kind, e.path = prefixPath, strings.TrimSuffix(decoded, "/")
	default:
		return unsupported(field+".type", string(kind))
	}
	return ""
}

func unsupported(field, value string) string {
	return fmt.Sprintf("%s %q is not supported", field, value)
}

// ruleBuilder compiles a rule of a route as a Gateway sees it.
type ruleBuilder struct {
	*compiler
	object  *routeObject
	gateway *gatewayPlan
	plan    *routePlan
}

// series is the counters of the route and a backend of it.
func (b *ruleBuilder) series(backend string) *series {
	s := b.seriesOf(b.plan.age.route, backend)
	b.plan.series = append(b.plan.series, s)
	return s
}

// rule compiles what happens to requests that match. Its backends that cannot be used keep their share of the requests,
// which is answered 500.
func (b *ruleBuilder) rule(field string, spec *gatewayv1.HTTPRouteRule) *rule {
	r := &rule{route: b.plan.age.route, series: b.series(""), action: &action{}}
	set, bad := compileFilters(field+".filters", spec.Filters)
	if bad == "" {
		bad = prefixNeeded(field, set, spec.Matches)
	}
	r.request, r.response, r.redirect, r.cors, r.fail = set.request, set.response, set.redirect, set.cors, bad
	for _, refuse := range []string{r.setTimeouts(field, spec.Timeouts), r.setRetry(field, spec.Retry)} {
		if refuse != "" {
			r.fail = refuse
		}
	}
	r.mirrors = b.mirrors(field+".filters", set.mirrors)
	r.targets = make([]target, 0, len(spec.BackendRefs))
	for i := range spec.BackendRefs {
		t := b.target(field+".backendRefs["+strconv.Itoa(i)+"]", &spec.BackendRefs[i])
		if set.redirect != nil || t.weight == 0 {
			continue
		}
		r.targets = append(r.targets, t)
		r.totalWeight += t.weight
	}
	r.action = r.orPlain()
	return r
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
func (b *ruleBuilder) target(field string, ref *gatewayv1.HTTPBackendRef) target {
	t := target{weight: 1, action: &action{}}
	if ref.Weight != nil {
		t.weight = int64(*ref.Weight)
	}
	set, bad := compileFilters(field+".filters", ref.Filters)
	if bad == "" && set.onlyForRules() {
		bad = field + ".filters: a backend can only have header modifiers and mirrors"
	}
	t.request, t.response = set.request, set.response
	t.mirrors = b.mirrors(field+".filters", set.mirrors)
	key, v := b.resolve(field, &ref.BackendObjectReference)
	if v.ok() && bad != "" {
		v = verdict{string(gatewayv1.RouteReasonUnsupportedValue), bad}
	}
	name := key.String()
	t.series = b.series(name)
	if v.ok() {
		t.backend, t.fail = b.reach(field, name, key)
	} else {
		b.plan.unresolve(v)
		t.fail = v.message
	}
	t.action = t.orPlain()
	return t
}

// reach is a backend, with the TLS its policy asks for, or why that cannot be had.
func (b *ruleBuilder) reach(field, name string, key BackendKey) (ref *backendRef, fail string) {
	var upstream *tls.Config
	if p := b.policies.of(key); p != nil {
		if !p.refused.ok() {
			return nil, fmt.Sprintf("%s: BackendTLSPolicy %q is not valid: see its status", field, nameOf(p.object))
		}
		key.TLS, upstream = p.upstream(b.gateway.client)
	}
	ref = b.backend(key, name, upstream)
	b.plan.backends = append(b.plan.backends, ref)
	return ref, ""
}

// resolve finds the port of the Service that a reference names. The key names it as well as it can be where the
// verdict is bad.
func (b *ruleBuilder) resolve(field string, ref *gatewayv1.BackendObjectReference) (BackendKey, verdict) {
	own := b.object.Namespace
	name := types.NamespacedName{Namespace: own, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	key := BackendKey{Namespace: name.Namespace, Service: name.Name, H2C: b.object.kind == kindGRPCRoute}
	if ref.Port != nil {
		key.Port = *ref.Port
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != kindService {
		return key, verdict{string(gatewayv1.RouteReasonInvalidKind), field + " is not a Service"}
	}
	if !slices.Contains(b.plan.services, name) {
		b.plan.services = append(b.plan.services, name)
	}
	if !b.granted(b.object.kind, own, reference{kindService, name}) {
		return key, verdict{
			string(gatewayv1.RouteReasonRefNotPermitted),
			fmt.Sprintf("%s: no ReferenceGrant in namespace %q lets %ss of %q use Service %q", field, name.Namespace, b.object.kind, own, name.Name),
		}
	}
	service := b.services[name]
	if service == nil {
		return key, verdict{string(gatewayv1.RouteReasonBackendNotFound), fmt.Sprintf("%s: there is no Service %q", field, name)}
	}
	return key, b.setPort(&key, field, service)
}

// setPort takes name and protocol from the port of the Service. The protocol of a stream is nobody's business.
func (b *ruleBuilder) setPort(k *BackendKey, field string, service *serviceFacts) verdict {
	if service.external {
		return verdict{
			string(gatewayv1.RouteReasonUnsupportedValue),
			fmt.Sprintf("%s: Service %q is of type ExternalName, which is not supported", field, service.name),
		}
	}
	for _, p := range service.ports {
		if p.Port != k.Port || p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		k.PortName = p.Name
		if b.object.kind != kindTLSRoute && !b.setProtocol(k, deref(p.AppProtocol, "")) {
			return verdict{
				string(gatewayv1.RouteReasonUnsupportedProtocol),
				fmt.Sprintf("%s: appProtocol %q of Service %q is not supported", field, *p.AppProtocol, service.name),
			}
		}
		return verdict{}
	}
	return verdict{
		string(gatewayv1.RouteReasonBackendNotFound),
		fmt.Sprintf("%s: Service %q has no TCP port %d", field, service.name, k.Port),
	}
}

// setProtocol reads an appProtocol, and says whether it can be spoken. Which certificates to trust, a policy must say.
func (b *ruleBuilder) setProtocol(k *BackendKey, app string) bool {
	switch strings.ToLower(app) {
	case "", "http", "kubernetes.io/ws":
	case "https", "kubernetes.io/wss":
		return b.policies.of(*k) != nil
	case "kubernetes.io/h2c":
		k.H2C = true
	default:
		return false
	}
	return true
}

// String is "namespace/service:port".
func (k BackendKey) String() string {
	return k.Namespace + "/" + k.Service + ":" + strconv.Itoa(int(k.Port))
}
