package traffic

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// cors says which pages of other origins may read answers: see the CORS protocol of the Fetch standard.
type cors struct {
	origins     []originPattern
	credentials bool
	methods     []string
	headers     []string
	expose      string
	maxAge      string
}

// originPattern matches origins; a host that begins with "*" stands for all that end with the rest.
type originPattern struct {
	any                bool
	scheme, host, port string
}

// defaultMaxAge is how long a browser may keep a preflight's answer, in seconds, unless the filter says otherwise.
const defaultMaxAge = 5

func compileCORS(f *gatewayv1.HTTPCORSFilter) *cors {
	c := &cors{credentials: deref(f.AllowCredentials, false), maxAge: strconv.Itoa(defaultMaxAge)}
	for _, o := range f.AllowOrigins {
		c.origins = append(c.origins, compileOrigin(string(o)))
	}
	for _, m := range f.AllowMethods {
		c.methods = append(c.methods, string(m))
	}
	for _, h := range f.AllowHeaders {
		c.headers = append(c.headers, string(h))
	}
	var expose []string
	for _, h := range f.ExposeHeaders {
		if h == "*" && c.credentials { // would be the name of a header, not a wildcard
			continue
		}
		expose = append(expose, string(h))
	}
	c.expose = strings.Join(expose, ", ")
	if f.MaxAge > 0 {
		c.maxAge = strconv.Itoa(int(f.MaxAge))
	}
	return c
}

func compileOrigin(pattern string) originPattern {
	if pattern == "*" {
		return originPattern{any: true}
	}
	scheme, rest, _ := strings.Cut(strings.ToLower(pattern), "://")
	host, port := splitHost(rest)
	return originPattern{scheme: scheme, host: host, port: portOrDefault(scheme, port)}
}

func portOrDefault(scheme, port string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	}
	return "80"
}

func (p *originPattern) matches(origin *url.URL) bool {
	if p.any {
		return true
	}
	host := strings.ToLower(origin.Hostname())
	if p.scheme != origin.Scheme || p.port != portOrDefault(origin.Scheme, origin.Port()) {
		return false
	}
	if suffix, ok := strings.CutPrefix(p.host, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == p.host
}

// allowed is the origin of a request if its pages may read answers, else empty.
func (c *cors) allowed(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return ""
	}
	parsed, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	if !slices.ContainsFunc(c.origins, func(p originPattern) bool { return p.matches(parsed) }) {
		return ""
	}
	return origin
}

// preflight says whether a request asks for permission only: the gateway answers it itself.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// answerPreflight gives or refuses permission for the request a browser wants to send.
func (c *cors) answerPreflight(w http.ResponseWriter, r *http.Request) int {
	h := w.Header()
	h.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if origin := c.allowed(r); origin != "" {
		c.setOrigin(h, origin)
		if methods := c.list(c.methods, r.Header.Get("Access-Control-Request-Method")); methods != "" {
			h.Set("Access-Control-Allow-Methods", methods)
		}
		if headers := c.list(c.headers, r.Header.Get("Access-Control-Request-Headers")); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		h.Set("Access-Control-Max-Age", c.maxAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return http.StatusNoContent
}

// list is what is allowed; a wildcard allows what is asked for, since "*" has no such meaning with credentials.
func (c *cors) list(allowed []string, asked string) string {
	if slices.Contains(allowed, "*") {
		return asked
	}
	return strings.Join(allowed, ", ")
}

// apply adds to an answer what lets the page that asked read it. What a backend says on the matter is replaced: two
// opinions are one too many for a browser.
func (c *cors) apply(h http.Header, r *http.Request) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	if !slices.Contains(h.Values("Vary"), "Origin") {
		h.Add("Vary", "Origin")
	}
	if origin := c.allowed(r); origin != "" {
		c.setOrigin(h, origin)
	}
}

func (c *cors) setOrigin(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	if c.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if c.expose != "" {
		h.Set("Access-Control-Expose-Headers", c.expose)
	}
}
