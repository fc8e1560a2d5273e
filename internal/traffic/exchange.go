package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// exchange is one request on its way through a rule to a backend.
type exchange struct {
	flow
	entry  *entry
	rule   *rule
	target *target

	unread   bool // the request came with a body on a connection of HTTP/1.1
	request  body
	response answerBody

	copyTo   []*backend // get a copy of the request
	endpoint *endpoint  // counts this exchange as in flight
	// total and attempt end the exchange, or one attempt of it, when it takes too long.
	total, attempt deadline
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// Causes of the end of a request's context.
var (
	errRequestTimeout = errors.New("the request took longer than the route's timeouts.request allows")
	errBackendTimeout = errors.New("the backend took longer than the route's timeouts.backendRequest allows")
)

// serveEntry answers a request by the rule of e.
func (g *Gateway) serveEntry(e *entry, w http.ResponseWriter, r *http.Request, started time.Time) {
	x := &exchange{entry: e, rule: e.rule, unread: hasUnreadBody(r)}
	if x.answerByRule(w, r) {
		x.begin(e.rule.series, nil, started)
		x.end(time.Now())
		return
	}
	x.begin(x.target.series, x.target.backend.live, started)
	ctx := x.total.start(context.WithValue(r.Context(), exchangeKey{}, x), x.rule.timeout, errRequestTimeout)
	defer x.finish()
	x.request.pace.start(w, r, started, x.backend.shared.bodyGrace)
	x.copyTo = chosenMirrors(x.rule.mirrors, x.target.mirrors)
	g.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// answerByRule answers what needs no backend, and chooses the target of the rest.
func (x *exchange) answerByRule(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case x.rule.fail != "":
		x.refuse(w, notServed, http.StatusInternalServerError, x.rule.fail)
		return true
	case x.rule.cors != nil && preflight(r):
		x.code = x.rule.cors.answerPreflight(w, r)
		return true
	case x.rule.redirect != nil:
		x.code = x.rule.redirect.code
		w.Header().Set("Location", x.rule.redirect.location(r, x.entry.path))
		x.rule.response.apply(w.Header())
		w.WriteHeader(x.code)
		return true
	case x.rule.totalWeight == 0:
		x.refuse(w, notServed, http.StatusInternalServerError, "the rule names no backend with a weight above 0")
		return true
	}
	x.target = x.rule.choose()
	if x.target.fail != "" {
		x.refuse(w, notServed, http.StatusInternalServerError, x.target.fail)
		return true
	}
	return false
}

// choose picks a target by weight.
func (r *rule) choose() *target {
	n := int64(0)
	if len(r.targets) > 1 {
		n = rand.Int64N(r.totalWeight)
	}
	for i := range r.targets {
		if n -= r.targets[i].weight; n < 0 {
			return &r.targets[i]
		}
	}
	return &r.targets[0]
}

// refuse answers for a route that cannot, naming it.
func (x *exchange) refuse(w http.ResponseWriter, kind failure, code int, text string) {
	x.flow.fail(kind, code)
	answer(w, code, fmt.Sprintf("route %q: %s", x.rule.route, text))
}

// finish counts the exchange, however it ended.
func (x *exchange) finish() {
	x.release()
	x.total.stop()
	x.in, x.out = x.request.bytes.Load(), x.response.bytes
	if x.failure == succeeded && x.fromBack && !x.upgraded {
		x.failure = x.response.failure()
	}
	x.end(time.Now())
}

func (x *exchange) take(e *endpoint) {
	x.endpoint = e
	e.inFlight.Add(1)
}

func (x *exchange) release() {
	x.attempt.stop()
	if x.endpoint != nil {
		x.endpoint.inFlight.Add(-1)
		x.endpoint = nil
	}
}

// dropCookie removes the cookie of this name and leaves the others as they came.
func dropCookie(h http.Header, name string) {
	lines := h["Cookie"]
	if name == "" || len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if n, _, _ := strings.Cut(pair, "="); pair != "" && strings.TrimSpace(n) != name {
				kept = append(kept, pair)
			}
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h.Set("Cookie", strings.Join(kept, "; "))
}

// rewriteRequest makes the request that is sent from the one that came.
func rewriteRequest(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	out := p.Out
	p.SetXForwarded()
	out.URL.Scheme = x.backend.scheme()
	out.URL.RawQuery = p.In.URL.RawQuery // as it came: what we cannot parse a backend may
	for _, f := range []*filters{&x.rule.request, &x.target.request} {
		f.headers.apply(out.Header)
		if f.host != "" {
			out.Host = f.host
		}
	}
	if host, ok := out.Header["Host"]; ok { // set by a filter; the transport would not send it
		out.Host = host[0]
		delete(out.Header, "Host")
	}
	if m := x.rule.request.path; m.kind != keepPath {
		setPath(out.URL, m.apply(p.In.URL.EscapedPath(), x.entry.path))
	}
	if out.Body != nil {
		x.request.ReadCloser = out.Body
		out.Body = &x.request
	}
}

func setPath(u *url.URL, escaped string) {
	decoded, err := url.PathUnescape(escaped)
	if err != nil { // cannot be: both parts were decoded before
		decoded = escaped
	}
	u.Path, u.RawPath = decoded, escaped
}

func modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	x.answer(res.StatusCode, time.Now())
	if res.StatusCode == http.StatusSwitchingProtocols {
		// What follows is a conversation, not an answer that takes too long.
		x.upgrade()
		x.total.disarm()
		x.attempt.disarm()
	} else {
		x.response.ReadCloser = res.Body
		res.Body = &x.response
	}
	x.target.response.apply(res.Header)
	x.rule.response.apply(res.Header)
	if x.rule.cors != nil {
		x.rule.cors.apply(res.Header, res.Request)
	}
	return nil
}

// answerError answers a request that no backend answered.
func (g *Gateway) answerError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.answered = time.Now()
	cause := context.Cause(r.Context())
	switch {
	case errors.Is(cause, errRequestTimeout):
		err = errRequestTimeout
	case cause != nil && x.request.pace.over(x.answered):
		err = errBodyTooSlow
	case cause != nil && !errors.Is(err, errBadBody):
		err = context.Canceled
	}
	switch kind := classify(err); kind {
	case responseTimeout:
		x.refuse(w, kind, http.StatusGatewayTimeout, err.Error())
	case clientGone:
		x.refuse(w, kind, clientClosed, "the client went away")
	case requestTooSlow:
		x.refuse(w, kind, http.StatusRequestTimeout, errBodyTooSlow.Error())
	case badRequest:
		x.refuse(w, kind, http.StatusBadRequest, errBadBody.Error())
	case noEndpoint, holdFull, overloaded:
		w.Header().Set("Retry-After", retryAfter)
		x.refuse(w, kind, http.StatusServiceUnavailable, x.backend.unavailable(err))
	default:
		service := x.backend.key.String()
		g.log.Debug("backend failed", "route", x.rule.route, "backend", service, "err", err)
		x.refuse(w, kind, http.StatusBadGateway, fmt.Sprintf("Service %q did not answer: %v", service, err))
	}
}

// clientClosed is the code, known from nginx, of a request whose client left. Only one that closed no more than its
// sending side could receive it.
const clientClosed = 499

// forwarder sends a request to an endpoint of its exchange's backend, and to another if the first cannot have seen it.
type forwarder struct{}

// RoundTrip implements http.RoundTripper.
func (forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	var err error
	var tried []*endpoint
	for len(tried) < maxAttempts {
		e, none := x.backend.endpoint(r.Context(), tried)
		if none != nil {
			return nil, cmp.Or(err, none)
		}
		if len(tried) > 0 {
			x.counts.retries.Add(1)
		}
		var res *http.Response
		if res, err = x.try(e, r); err == nil {
			return res, nil
		}
		if !repeatable(r, err) || !unseen(err) && !x.backend.mayRetry(time.Now()) {
			return nil, err
		}
		tried = append(tried, e)
	}
	return nil, err
}

// try sends the request to one endpoint. The endpoint counts it until the answer is through.
func (x *exchange) try(e *endpoint, r *http.Request) (*http.Response, error) {
	x.release()
	x.take(e)
	ctx := x.attempt.start(r.Context(), x.rule.backendTimeout, errBackendTimeout)
	out := r.WithContext(ctx)
	target := *r.URL
	target.Host = e.address
	out.URL = &target
	res, err := e.transport.RoundTrip(out)
	if err != nil && errors.Is(context.Cause(ctx), errBackendTimeout) {
		err = errBackendTimeout
	}
	x.note(r.Context(), res, err)
	if res != nil {
		res.Request = r
	}
	return res, err
}

// note tells the backend how the attempt at the endpoint ended.
func (x *exchange) note(ctx context.Context, res *http.Response, err error) {
	switch now := time.Now(); {
	case err == nil:
		x.backend.attempted(x.endpoint, succeeded, res.StatusCode, now)
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errRequestTimeout): // the client went away
	default:
		x.backend.attempted(x.endpoint, classify(err), 0, now)
	}
}

// repeatable says whether a request that failed may be sent again: to a backend that refused the connection if no byte
// of the body is gone, else only without a body and where the method means the same twice (RFC 9110 section 9.2.2).
func repeatable(r *http.Request, err error) bool {
	if r.Context().Err() != nil || errors.Is(err, errBackendTimeout) {
		return false
	}
	if b, ok := r.Body.(*body); ok && b.read.Load() {
		return false
	}
	return unseen(err) || r.Body == nil && idempotent(r.Method)
}

// unseen says that no backend can have seen the request: there was no connection.
func unseen(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// deadline ends a context after a time, with a cause, unless it is disarmed before. The zero value does nothing.
type deadline struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (d *deadline) start(ctx context.Context, after time.Duration, cause error) context.Context {
	if after <= 0 {
		return ctx
	}
	ctx, d.cancel = context.WithCancelCause(ctx)
	cancel := d.cancel
	d.timer = time.AfterFunc(after, func() { cancel(cause) })
	return ctx
}

// disarm lets the context live on.
func (d *deadline) disarm() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// stop ends the context.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.cancel(context.Canceled)
		d.timer, d.cancel = nil, nil
	}
}
