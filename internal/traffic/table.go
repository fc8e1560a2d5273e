package traffic

import (
	"cmp"
	"crypto/tls"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Table is what the data plane looks requests up in. What is read while requests are served never changes once it is
// installed, except that a listener's routes are replaced as a whole.
type Table struct {
	sockets map[SocketKey]*socketTable
	// terminators are what listeners terminate TLS with; they refer to them by number plus one.
	terminators []*terminator
	// asksHeaders says that some match looks, or looked before a change, at header fields.
	asksHeaders atomic.Bool
	// series and backends are all that rules refer to.
	series   book[SeriesKey, series]
	backends book[BackendKey, backendRef]
	// changes wait to be installed.
	changes tableChanges
}

// tableChanges are the parts of a table that the data plane does not have yet.
type tableChanges struct {
	// added are the backends that rules send requests to for the first time, dropped those that none does any more.
	added, dropped []*backendRef
	// hosts are the routes of listeners.
	hosts map[*listenerTable]*hostIndex[*pathIndex]
}

// backendRef is how rules refer to a backend.
type backendRef struct {
	key BackendKey
	// name is that of the key.
	name string
	// upstream is what endpoints are reached with; nil without TLS.
	upstream *tls.Config
	uses     int
	// live is set before any request can find a rule that refers to it.
	live *backend
}

// book is what rules refer to, by its name. The compiler writes it, others list it.
type book[K comparable, V any] struct {
	mu  sync.Mutex
	all map[K]*V
}

// take returns what a name stands for, and whether it was there; fresh makes it.
func (b *book[K, V]) take(k K, fresh func() *V) (v *V, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v = b.all[k]; v != nil {
		return v, true
	}
	if b.all == nil {
		b.all = map[K]*V{}
	}
	v = fresh()
	b.all[k] = v
	return v, false
}

func (b *book[K, V]) get(k K) *V {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[k]
}

func (b *book[K, V]) remove(k K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, k)
}

// list is all of them, in no order.
func (b *book[K, V]) list() []*V {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.all))
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

// pathIndex finds the entries of the routes of one host name by path: the exact path first, then regular expressions from
// the longest to the shortest, then prefixes from the longest to the shortest. Entries of one path are in order of
// precedence. It does not change.
type pathIndex struct {
	// routes are those that have the entries, in order of precedence.
	routes []*routePlan
	// stream is what connections are handed to: the first of TLSRoutes has precedence.
	stream *streamRule
	// entries are all, in the order in which they are asked. There are maps besides where they are many.
	entries []*entry
	maps    *pathMaps
}

// pathMaps find entries of many by path.
type pathMaps struct {
	exact    map[string][]*entry
	patterns []*entry
	prefix   map[string][]*entry // without the trailing slash, so "" is every path
	// longest bounds how much of a hostile path is looked up.
	longest int
}

// manyEntries is from how many on maps find an entry sooner than a look at each.
const manyEntries = 9

func newPathIndex(routes []*routePlan) *pathIndex {
	p := &pathIndex{routes: routes, stream: routes[0].stream}
	n := 0
	for _, r := range routes {
		n += len(r.entries)
	}
	if n == len(routes[0].entries) && n < 2 {
		p.entries = routes[0].entries
		return p
	}
	p.entries = make([]*entry, 0, n)
	for _, r := range routes {
		p.entries = append(p.entries, r.entries...)
	}
	slices.SortFunc(p.entries, compareEntries)
	if n >= manyEntries {
		p.maps = newPathMaps(p.entries)
	}
	return p
}

func newPathMaps(entries []*entry) *pathMaps {
	m := &pathMaps{exact: map[string][]*entry{}, prefix: map[string][]*entry{}}
	for _, e := range entries {
		switch e.kind {
		case exactPath:
			m.exact[e.path] = append(m.exact[e.path], e)
		case patternPath:
			m.patterns = append(m.patterns, e)
		case prefixPath:
			m.longest = max(m.longest, len(e.path))
			m.prefix[e.path] = append(m.prefix[e.path], e)
		}
	}
	return m
}

// entry is one match of one rule.
type entry struct {
	kind pathKind
	path string // without the trailing slash where it is a prefix
	rank rank
	rule *rule
	// conditions are shared by all entries that have none: see unconditional.
	*conditions
}

// conditions are what few entries ask for. They do not change.
type conditions struct {
	pattern *regexp.Regexp // that of the path, if it is one
	method  string         // empty matches any
	headers []match        // names in canonical form
	query   []match
}

// unconditional and plain stand for the many entries and rules that have nothing but a path and backends.
var (
	unconditional = &conditions{}
	plain         = &action{}
)

// pathKind is how a path is matched, in order of precedence.
type pathKind int8

const (
	exactPath pathKind = iota
	patternPath
	prefixPath
)

// covers says whether a path is one that the entry is for.
func (e *entry) covers(path string) bool {
	switch e.kind {
	case exactPath:
		return path == e.path
	case patternPath:
		return e.pattern.MatchString(path)
	}
	return strings.HasPrefix(path, e.path) && (len(path) == len(e.path) || path[len(e.path)] == '/')
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

// rank orders matches that are otherwise equal: by route, then the order within the route.
type rank struct {
	age         *age
	rule, match int32
}

// age orders routes: the oldest first, then by "namespace/name".
type age struct {
	created time.Time
	route   string
}

func (a *age) compare(b *age) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.route, b.route))
}

// rule is what happens to a request that matches.
type rule struct {
	route          string // "namespace/name"
	targets        []target
	totalWeight    int64
	series         *series // counts answers that the gateway gives itself
	timeout        time.Duration
	backendTimeout time.Duration
	raw            lazyRawRule
	// action is shared by all that have none: see plain.
	*action
}

// action is what few rules and targets do beyond sending requests on. It does not change. A target has no redirect, CORS
// or retries of its own.
type action struct {
	// fail is why every request is answered 500; empty when the rule or target can be served.
	fail     string
	redirect *redirect
	cors     *cors
	retry    *retryPolicy
	request  filters
	response headerChange
	mirrors  []mirror
}

// orPlain is the action, or the one that all have who have none.
func (a *action) orPlain() *action {
	if reflect.ValueOf(*a).IsZero() {
		return plain
	}
	return a
}

// target is one backend of a rule, with its share of the requests.
type target struct {
	weight  int64
	backend *backendRef // nil if it fails
	series  *series
	// action is shared by all that have none: see plain.
	*action
}

// filters change a request before it is sent.
type filters struct {
	headers headerChange
	host    string // replaces the Host header; empty keeps it
	path    pathModifier
}

func (p *pathIndex) lookup(path string, r *http.Request) *entry {
	m := matcher{request: r}
	if p.maps != nil {
		return p.maps.lookup(path, &m)
	}
	for _, e := range p.entries {
		if e.covers(path) && m.matches(e) {
			return e
		}
	}
	return nil
}

func (p *pathMaps) lookup(path string, m *matcher) *entry {
	if e := m.first(p.exact[path]); e != nil {
		return e
	}
	for _, e := range p.patterns {
		if e.covers(path) && m.matches(e) {
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

// compareEntries orders matches: exact paths, the longest regular expression, the longest prefix, with a method first,
// then more headers, more query parameters, the oldest route, its name, and the order of its rules. See
// HTTPRouteRule.matches of the Gateway API.
func compareEntries(a, b *entry) int {
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if a.kind != exactPath && len(a.path) != len(b.path) {
		return cmp.Compare(len(b.path), len(a.path))
	}
	return cmp.Or(
		-cmp.Compare(len(a.method), 0)+cmp.Compare(len(b.method), 0),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		a.rank.age.compare(b.rank.age),
		cmp.Compare(a.rank.rule, b.rank.rule),
		cmp.Compare(a.rank.match, b.rank.match),
	)
}
