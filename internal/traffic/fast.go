package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
)

// accelerate puts the raw path in front of the path on net/http: it accepts the connections of the listener, serves the
// plain requests and passes all else on. What it cannot take over is returned as it came.
//
// The platform's socket has a loop per processor; that of one Gateway has one loop, because there may be many.
func (g *Gateway) accelerate(l net.Listener, key SocketKey) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	loops := 1
	if key == (SocketKey{}) {
		loops = runtime.GOMAXPROCS(0)
	}
	front, err := fastpath.Listen(tcp, &rawRouter{gateway: g, socket: key}, loops)
	if err != nil {
		g.log.Warn("plain requests are served on the slower path", "err", err)
		return l
	}
	g.fronts.add(front, g.connections.limit.Load())
	return front
}

// fronts are the raw paths of all sockets.
type fronts struct {
	mu   sync.Mutex
	open map[*fastpath.Server]struct{}
	room fastpath.Room
}

func (f *fronts) add(front *fastpath.Server, limit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[*fastpath.Server]struct{}{}
		f.room.Limit = int(limit)
	}
	f.open[front] = struct{}{}
	front.Bound(&f.room)
}

func (f *fronts) remove(front *fastpath.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, front)
}

// connections is how many connections there are on the raw paths.
func (f *fronts) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for front := range f.open {
		n += front.Open()
	}
	return n
}

// finishRaw waits for the requests on the raw path, if the listener has one.
func (g *Gateway) finishRaw(ctx context.Context, l net.Listener) error {
	if front, ok := l.(*fastpath.Server); ok {
		defer g.fronts.remove(front)
		return front.Shutdown(ctx)
	}
	return nil
}

// rawRouter brings the requests of the raw path to the same table, endpoints and counters as the others.
type rawRouter struct {
	gateway   *Gateway
	socket    SocketKey
	exchanges sync.Pool // of *rawExchange
	lookups   sync.Pool // of *rawLookup
}

// rawExchange is the account of one request on the raw path.
type rawExchange struct {
	flow
	route    string
	endpoint *endpoint
	noted    bool // the backend knows how the attempt ended
}

// Route implements fastpath.Router.
func (r *rawRouter) Route(q *fastpath.Request, x *fastpath.Exchange) fastpath.Way {
	live := r.gateway.live.Load()
	if live == nil || r.gateway.draining.Load() || r.hasPrivateCookie(q) {
		return fastpath.Lend
	}
	e := r.lookup(live.table, q)
	if e == nil {
		return fastpath.HandOver
	}
	raw := e.rule.raw.of(e.rule)
	if raw == nil {
		return fastpath.HandOver
	}
	t := e.rule.choose()
	own := r.exchange()
	own.route = e.rule.route
	own.begin(t.series, t.backend.live, x.Started)
	if way := own.pick(); way != fastpath.Forward {
		r.drop(own)
		return way
	}
	change := raw.changes[t]
	x.Owner, x.Upstream, x.Request, x.Response = own, own.endpoint.raw, change.request, change.response
	x.Timeout, x.BackendTimeout = e.rule.timeout, e.rule.backendTimeout
	return fastpath.Forward
}

// pick takes an endpoint. A request that has to wait for one, or be refused, is for the other path.
func (x *rawExchange) pick() fastpath.Way {
	p, err := x.backend.pick(nil)
	switch {
	case err != nil:
		return fastpath.Lend
	case p.raw == nil:
		return fastpath.HandOver
	}
	x.endpoint = p
	p.inFlight.Add(1)
	return fastpath.Forward
}

// drop takes back begin: another account goes on with the request.
func (r *rawRouter) drop(x *rawExchange) {
	x.counts.inFlight.Add(-1)
	x.backend.counts.inFlight.Add(-1)
	r.free(x)
}

func (r *rawRouter) free(x *rawExchange) {
	*x = rawExchange{}
	r.exchanges.Put(x)
}

func (r *rawRouter) exchange() *rawExchange {
	if x, ok := r.exchanges.Get().(*rawExchange); ok {
		return x
	}
	return &rawExchange{}
}

func (r *rawRouter) hasPrivateCookie(q *fastpath.Request) bool {
	name := r.gateway.privateCookie
	return name != "" && q.HeaderHolds("cookie", name)
}

// rawLookup is a request as the table looks at it. Its strings are bytes of the loop's buffer: they are good for one
// lookup, and nothing keeps them.
type rawLookup struct {
	request http.Request
	url     url.URL
	values  []string
}

func (r *rawRouter) lookup(t *Table, q *fastpath.Request) *entry {
	l, ok := r.lookups.Get().(*rawLookup)
	if !ok {
		l = &rawLookup{request: http.Request{Header: http.Header{}}}
		l.request.URL = &l.url
	}
	l.request.Method, l.request.Host, l.url.RawQuery = text(q.Method), text(q.Host), text(q.Query)
	asksHeaders := t.asksHeaders.Load()
	if asksHeaders {
		l.fill(q)
	}
	host := requestHost(l.request.Host)
	var e *entry
	if at := t.sockets[r.socket]; at != nil && !at.secure {
		e = at.find(host).lookup(host, text(q.Path), &l.request)
	}
	if asksHeaders {
		clear(l.request.Header)
	}
	r.lookups.Put(l)
	return e
}

// fill reads the header fields into the request.
func (l *rawLookup) fill(q *fastpath.Request) {
	l.values = l.values[:0]
	for name, value := range q.Fields() {
		key := http.CanonicalHeaderKey(text(name))
		if before, ok := l.request.Header[key]; ok {
			l.request.Header[key] = append(before, text(value))
			continue
		}
		n := len(l.values)
		l.values = append(l.values, text(value))
		l.request.Header[key] = l.values[n : n+1 : n+1]
	}
}

// text is bytes as a string, without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// rawRule is what the raw path needs of a rule that it can serve.
type rawRule struct {
	changes map[*target]rawChange // of targets that have any
}

// unchanged is that of the many rules that send requests as they came.
var unchanged = &rawRule{}

type rawChange struct{ request, response *fastpath.HeaderChange }

// lazyRawRule is made when a request first needs it.
type lazyRawRule struct {
	once sync.Once
	rule *rawRule // nil when the rule asks for more than the raw path can do
}

func (l *lazyRawRule) of(r *rule) *rawRule {
	l.once.Do(func() { l.rule = newRawRule(r) })
	return l.rule
}

// newRawRule reads a rule. One that has anything but what is known here goes to the other path, so that what rules
// learn later is right before it is fast.
func newRawRule(r *rule) *rawRule {
	if !r.onlyHeaders() || r.totalWeight == 0 {
		return nil
	}
	changes := map[*target]rawChange{}
	for i := range r.targets {
		t := &r.targets[i]
		request, ok := rawHeaders(&r.request.headers, &t.request.headers)
		response, okToo := rawHeaders(&t.response, &r.response)
		if !t.onlyHeaders() || !ok || !okToo {
			return nil
		}
		if request != nil || response != nil {
			changes[t] = rawChange{request, response}
		}
	}
	if len(changes) == 0 {
		return unchanged
	}
	return &rawRule{changes}
}

// onlyHeaders says that an action does nothing but change header fields.
func (a *action) onlyHeaders() bool {
	rest := *a
	rest.request.headers, rest.response = headerChange{}, headerChange{}
	return a == plain || reflect.ValueOf(rest).IsZero()
}

// rawHeaders makes one change of two that follow each other. It returns false for fields that frame or address a
// message.
func rawHeaders(changes ...*headerChange) (*fastpath.HeaderChange, bool) {
	var drop []string
	var lines []pair
	without := func(name string) {
		drop = append(drop, strings.ToLower(name))
		kept := lines[:0]
		for _, p := range lines {
			if p.name != name {
				kept = append(kept, p)
			}
		}
		lines = kept
	}
	for _, c := range changes {
		for _, name := range c.remove {
			without(name)
		}
		for _, p := range c.set {
			without(p.name)
			lines = append(lines, p)
		}
		lines = append(lines, c.add...)
	}
	out := &fastpath.HeaderChange{Drop: drop}
	for _, p := range lines {
		out.Lines = fmt.Appendf(out.Lines, "%s: %s\r\n", p.name, p.value)
	}
	for _, p := range lines {
		drop = append(drop, strings.ToLower(p.name))
	}
	for _, name := range drop {
		if fastpath.Special(name) {
			return nil, false
		}
	}
	if len(drop) == 0 {
		return nil, true
	}
	return out, true
}

// Dialled implements fastpath.Router.
func (*rawRouter) Dialled(x *fastpath.Exchange, took time.Duration, err error) {
	x.Owner.(*rawExchange).backend.dialled(took, classify(err))
}

// Answered implements fastpath.Router.
func (*rawRouter) Answered(x *fastpath.Exchange, code int, now time.Time) {
	own := x.Owner.(*rawExchange)
	own.answer(code, now)
	own.note(succeeded, code, now)
}

// note tells the backend once how the attempt ended.
func (x *rawExchange) note(kind failure, code int, now time.Time) {
	if !x.noted {
		x.noted = true
		x.backend.attempted(x.endpoint, kind, code, now)
	}
}

// Repeat implements fastpath.Router.
func (*rawRouter) Repeat(x *fastpath.Exchange, err error, now time.Time) bool {
	own := x.Owner.(*rawExchange)
	own.note(classify(err), 0, now)
	if !own.backend.mayRetry(now) {
		return false
	}
	own.counts.retries.Add(1)
	return true
}

// Explain implements fastpath.Router: the answers are those of answerError.
func (*rawRouter) Explain(x *fastpath.Exchange, reason fastpath.Reason, err error) (int, string) {
	own := x.Owner.(*rawExchange)
	err = rawError(reason, err)
	kind := classify(err)
	code, why := http.StatusBadGateway, fmt.Sprintf("Service %q did not answer: %v", own.backend.key, err)
	switch kind {
	case responseTimeout:
		code, why = http.StatusGatewayTimeout, err.Error()
	case clientGone:
		code, why = clientClosed, "the client went away"
	case requestTooSlow:
		code, why = http.StatusRequestTimeout, err.Error()
	}
	own.fail(kind, code)
	return code, fmt.Sprintf("escale gateway: route %q: %s", own.route, why)
}

func rawError(reason fastpath.Reason, err error) error {
	switch reason {
	case fastpath.RequestTimeout:
		return errRequestTimeout
	case fastpath.BackendTimeout:
		return errBackendTimeout
	case fastpath.ClientGone:
		return context.Canceled
	case fastpath.RequestTooSlow:
		return errBodyTooSlow
	}
	return cmp.Or(err, errors.New("no answer"))
}

// Done implements fastpath.Router.
func (r *rawRouter) Done(x *fastpath.Exchange, o fastpath.Outcome) {
	own := x.Owner.(*rawExchange)
	own.endpoint.inFlight.Add(-1)
	kind := succeeded
	if o.Reason != fastpath.Succeeded {
		kind = classify(rawError(o.Reason, o.Err))
		own.note(kind, 0, o.Now)
	}
	if o.Lent {
		r.drop(own)
		return
	}
	if kind != succeeded && own.failure == succeeded {
		own.failure = kind
		if kind == brokenOff || kind == protocolError {
			own.failure = answerTruncated
		}
	}
	own.in, own.out = o.In, o.Out
	own.end(o.Now)
	r.free(own)
}
