package traffic

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Table is what the data plane looks requests up in. It never changes once Compile has returned it, and refers to
// backends and counters by number: see Backends and Series.
type Table struct {
	// Backends are the backends that any rule sends requests to, each once.
	Backends []BackendKey
	// Series are the pairs of route and backend that are counted apart.
	Series []SeriesKey

	sockets map[SocketKey]*socketTable
	// terminators are what listeners terminate TLS with; they refer to them by number plus one.
	terminators []*terminator
	// upstream is how backends are reached with TLS, by BackendKey.TLS.
	upstream map[string]*tls.Config
	// asksHeaders says that some match looks at header fields.
	asksHeaders bool
}

// BackendKey identifies a port of a Service as the data plane reaches it. A change to any part makes another backend.
type BackendKey struct {
	Namespace, Service string
	// Port is the Service's port, PortName its name, by which EndpointSlices know it.
	Port     int32
	PortName string
	// H2C says that the endpoints are spoken to in HTTP/2 only; without TLS unless TLS says otherwise.
	H2C bool
	// TLS identifies the configuration that endpoints are reached with; empty without TLS.
	TLS string
}

// hostIndex finds values by host name, the most specific first: an exact name, then wildcards from the longest to the
// shortest, then the value for every name.
type hostIndex[T any] struct {
	exact  map[string]T
	suffix map[string]T // key ".example.com" for "*.example.com"
	any    *T
}

// candidates yields the values for a name, the most specific first.
func (h *hostIndex[T]) candidates(name string, yield func(T) bool) {
	if v, ok := h.exact[name]; ok && !yield(v) {
		return
	}
	if len(h.suffix) > 0 {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			if v, ok := h.suffix[name[i:]]; ok && !yield(v) {
				return
			}
		}
	}
	if h.any != nil {
		yield(*h.any)
	}
}

// get returns the value stored for a pattern (a name, "*.example.com", or "" for every name), making it if absent.
func (h *hostIndex[T]) get(pattern string, fresh func() T) T {
	if pattern == "" {
		if h.any == nil {
			v := fresh()
			h.any = &v
		}
		return *h.any
	}
	m, key := &h.exact, pattern
	if strings.HasPrefix(pattern, "*.") {
		m, key = &h.suffix, pattern[1:]
	}
	if *m == nil {
		*m = map[string]T{}
	}
	v, ok := (*m)[key]
	if !ok {
		v = fresh()
		(*m)[key] = v
	}
	return v
}

// pathIndex finds entries by path: the exact path first, then regular expressions from the longest to the shortest, then
// prefixes from the longest to the shortest. Entries of one path are in order of precedence.
type pathIndex struct {
	exact    map[string][]*entry
	patterns []*entry
	prefix   map[string][]*entry // without the trailing slash, so "" is every path
	// longest bounds how much of a hostile path is looked up.
	longest int
}

// entry is one match of one rule.
type entry struct {
	exact   bool
	path    string         // as in the index
	pattern *regexp.Regexp // instead of path
	method  string         // empty matches any
	headers []match        // names in canonical form
	query   []match
	rank    rank
	rule    *rule
}

type pair struct{ name, value string }

// match asks a header or parameter for a value, or one that all of a regular expression matches.
type match struct {
	pair
	pattern *regexp.Regexp
}

func (m *match) fits(value string) bool {
	if m.pattern != nil {
		return m.pattern.MatchString(value)
	}
	return value == m.value
}

// rank orders matches that are otherwise equal: the oldest route, then the first by "namespace/name", then the order
// within the route.
type rank struct {
	created     time.Time
	route       string
	rule, match int
}

// rule is what happens to a request that matches.
type rule struct {
	route string // "namespace/name"
	// fail is why every request is answered 500; empty when the rule can be served.
	fail           string
	redirect       *redirect
	cors           *cors
	retry          *retryPolicy
	request        filters
	response       headerChange
	mirrors        []mirror
	targets        []target
	totalWeight    int64
	series         int // counts answers that the gateway gives itself
	timeout        time.Duration
	backendTimeout time.Duration
}

// target is one backend of a rule, with its share of the requests.
type target struct {
	weight int64
	// fail is why this share is answered 500; empty when the backend can be reached.
	fail            string
	backend, series int
	request         filters
	response        headerChange
	mirrors         []mirror
}

// filters change a request before it is sent.
type filters struct {
	headers headerChange
	host    string // replaces the Host header; empty keeps it
	path    pathModifier
}

func (p *pathIndex) lookup(path string, r *http.Request) *entry {
	m := matcher{request: r}
	if e := m.first(p.exact[path]); e != nil {
		return e
	}
	for _, e := range p.patterns {
		if e.pattern.MatchString(path) && m.matches(e) {
			return e
		}
	}
	for end := len(path); end >= 0; end = strings.LastIndexByte(path[:end], '/') {
		if end > p.longest {
			end = p.longest + 1
			continue
		}
		if e := m.first(p.prefix[path[:end]]); e != nil {
			return e
		}
	}
	return nil
}

func (p *pathIndex) add(e *entry) {
	if e.pattern != nil {
		p.patterns = append(p.patterns, e)
		return
	}
	m := &p.prefix
	if e.exact {
		m = &p.exact
	} else {
		p.longest = max(p.longest, len(e.path))
	}
	if *m == nil {
		*m = map[string][]*entry{}
	}
	(*m)[e.path] = append((*m)[e.path], e)
}

// sort puts the entries of each path in the order the Gateway API asks for.
func (p *pathIndex) sort() {
	for _, m := range []map[string][]*entry{p.exact, p.prefix} {
		for _, entries := range m {
			slices.SortFunc(entries, compareEntries)
		}
	}
	slices.SortFunc(p.patterns, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), compareEntries(a, b))
	})
}

// matcher parses the query of a request once, and only if an entry asks for it.
type matcher struct {
	request *http.Request
	query   url.Values
}

func (m *matcher) first(entries []*entry) *entry {
	for _, e := range entries {
		if m.matches(e) {
			return e
		}
	}
	return nil
}

func (m *matcher) matches(e *entry) bool {
	if e.method != "" && e.method != m.request.Method {
		return false
	}
	for i := range e.headers {
		if !m.hasHeader(&e.headers[i]) {
			return false
		}
	}
	if len(e.query) > 0 && m.query == nil {
		m.query = m.request.URL.Query()
	}
	for i := range e.query {
		// The first value counts, as most backends read it.
		q := &e.query[i]
		if v, ok := m.query[q.name]; !ok || !q.fits(v[0]) {
			return false
		}
	}
	return true
}

// hasHeader compares with all values of a header, joined the way RFC 9110 section 5.3 combines field lines.
func (m *matcher) hasHeader(h *match) bool {
	if h.name == "Host" {
		return h.fits(m.request.Host)
	}
	values := m.request.Header[h.name]
	if len(values) == 1 {
		return h.fits(values[0])
	}
	return len(values) > 1 && h.fits(strings.Join(values, ","))
}

// compareEntries orders matches of one path: with a method first, then more headers, more query parameters, the
// oldest route, its name, and the order of its rules. See HTTPRouteRule.matches of the Gateway API.
func compareEntries(a, b *entry) int {
	return cmp.Or(
		-cmp.Compare(len(a.method), 0)+cmp.Compare(len(b.method), 0),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		a.rank.created.Compare(b.rank.created),
		cmp.Compare(a.rank.route, b.rank.route),
		cmp.Compare(a.rank.rule, b.rank.rule),
		cmp.Compare(a.rank.match, b.rank.match),
	)
}
