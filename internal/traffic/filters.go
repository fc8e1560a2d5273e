package traffic

import (
	"fmt"
	"net"
	"net/http"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// headerChange changes headers: first those to remove, then those to set, then those to add.
type headerChange struct {
	remove   []string
	set, add []pair
}

func (c *headerChange) apply(h http.Header) {
	for _, name := range c.remove {
		delete(h, name)
	}
	for _, p := range c.set {
		h[p.name] = []string{p.value}
	}
	for _, p := range c.add {
		h[p.name] = append(h[p.name], p.value)
	}
}

// redirect answers a request with another address.
type redirect struct {
	scheme, host string // empty: as in the request
	port         int32  // 0: see location
	path         pathModifier
	code         int
}

// location is where a request is sent to. A port that is not given is the scheme's own if the redirect names a scheme;
// else it is the port the client used: the one in its Host header, which the listener, behind a forwarded port, does not
// know, or else the listener's.
func (d *redirect) location(r *http.Request, prefix string) string {
	host, port := splitHost(r.Host)
	scheme := requestScheme(r)
	if port == "" {
		port = socketPort(r.Context())
	}
	if d.scheme != "" {
		scheme, port = d.scheme, ""
	}
	if d.host != "" {
		host = d.host
	}
	if d.port != 0 {
		port = fmt.Sprint(d.port)
	}
	if port != "" && !(scheme == "http" && port == "80") && !(scheme == "https" && port == "443") {
		host = net.JoinHostPort(unbracket(host), port)
	}
	location := scheme + "://" + host + d.path.apply(r.URL.EscapedPath(), prefix)
	if r.URL.RawQuery != "" {
		location += "?" + r.URL.RawQuery
	}
	return location
}

func unbracket(host string) string {
	if len(host) > 1 && host[0] == '[' {
		return host[1 : len(host)-1]
	}
	return host
}

// filterSet is the filters of a rule or of a backend.
type filterSet struct {
	request  filters
	response headerChange
	redirect *redirect
	cors     *cors
	mirrors  []*gatewayv1.HTTPRequestMirrorFilter
}

// onlyForRules says that the set holds what a backend reference cannot have.
func (s *filterSet) onlyForRules() bool {
	return s.redirect != nil || s.cors != nil || s.request.host != "" || s.request.path.kind != keepPath
}

// compileFilters reads filters; bad names the first field that is not supported.
func compileFilters(field string, specs []gatewayv1.HTTPRouteFilter) (set filterSet, bad string) {
	for i := range specs {
		f := &specs[i]
		switch {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			set.request.headers = compileHeaders(f.RequestHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			set.response = compileHeaders(f.ResponseHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
			set.redirect = compileRedirect(f.RequestRedirect)
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
			set.request.path = compilePath(f.URLRewrite.Path)
			if f.URLRewrite.Hostname != nil {
				set.request.host = string(*f.URLRewrite.Hostname)
			}
		case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
			set.mirrors = append(set.mirrors, f.RequestMirror)
		case f.Type == gatewayv1.HTTPRouteFilterCORS && f.CORS != nil:
			set.cors = compileCORS(f.CORS)
		default:
			return set, unsupported(fmt.Sprintf("%s[%d].type", field, i), string(f.Type))
		}
	}
	return set, ""
}

func compileHeaders(f *gatewayv1.HTTPHeaderFilter) headerChange {
	var c headerChange
	for _, name := range f.Remove {
		c.remove = append(c.remove, http.CanonicalHeaderKey(name))
	}
	c.set, c.add = pairs(f.Set), pairs(f.Add)
	return c
}

func pairs(headers []gatewayv1.HTTPHeader) []pair {
	var list []pair
	for _, h := range headers {
		list = append(list, pair{http.CanonicalHeaderKey(string(h.Name)), h.Value})
	}
	return list
}

func compileRedirect(f *gatewayv1.HTTPRequestRedirectFilter) *redirect {
	d := &redirect{code: http.StatusFound, path: compilePath(f.Path)}
	if f.Scheme != nil {
		d.scheme = *f.Scheme
	}
	if f.Hostname != nil {
		d.host = string(*f.Hostname)
	}
	if f.Port != nil {
		d.port = *f.Port
	}
	if f.StatusCode != nil {
		d.code = *f.StatusCode
	}
	return d
}

func compilePath(p *gatewayv1.HTTPPathModifier) pathModifier {
	switch {
	case p == nil:
		return pathModifier{}
	case p.ReplaceFullPath != nil:
		return pathModifier{replaceFull, *p.ReplaceFullPath}
	case p.ReplacePrefixMatch != nil:
		return pathModifier{replacePrefix, *p.ReplacePrefixMatch}
	}
	return pathModifier{}
}
