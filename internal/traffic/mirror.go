package traffic

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// mirror is a backend that gets copies of requests; its answers are not read.
type mirror struct {
	backend *backendRef
	// of in each, at random, are copied.
	of, each int32
}

const (
	// maxMirrored is the largest body that is copied; requests with a larger one go to the route's own backend alone.
	maxMirrored = 1 << 20
	// maxMirrors is how many copies are under way at once, over all backends; more are not sent.
	maxMirrors = 512
	// mirrorTimeout bounds a copy, since nobody waits for its answer.
	mirrorTimeout = 30 * time.Second
)

// mirrors resolves the backends of mirror filters. One that cannot be used is said in the route's status and gets no
// copies; the requests themselves are served.
func (b *ruleBuilder) mirrors(field string, filters []*gatewayv1.HTTPRequestMirrorFilter) []mirror {
	var list []mirror
	for _, f := range filters {
		key, v := b.resolve(field+".requestMirror.backendRef", &f.BackendRef)
		if !v.ok() {
			b.plan.unresolve(v)
			continue
		}
		m := mirror{of: 100, each: 100}
		switch {
		case f.Fraction != nil:
			m.of, m.each = f.Fraction.Numerator, deref(f.Fraction.Denominator, 100)
		case f.Percent != nil:
			m.of = *f.Percent
		}
		var fail string
		if m.backend, fail = b.reach(field, key.String(), key); fail != "" {
			b.plan.unresolve(verdict{string(gatewayv1.RouteReasonUnsupportedValue), fail})
			continue
		}
		list = append(list, m)
	}
	return list
}

// chosenMirrors are the backends that get a copy of one request.
func chosenMirrors(lists ...[]mirror) []*backend {
	var to []*backend
	for _, list := range lists {
		for _, m := range list {
			if m.of >= m.each || rand.Int32N(m.each) < m.of {
				to = append(to, m.backend.live)
			}
		}
	}
	return to
}

// mirrorTo has copies of a request sent once its body has been read, for which the request's body is replaced. It is
// called when the request is as it will be sent.
func mirrorTo(to []*backend, r *http.Request) {
	if r.ContentLength > maxMirrored || r.Header.Get("Upgrade") != "" {
		return
	}
	c := &copies{to: to, request: r.Clone(context.WithoutCancel(r.Context()))}
	if r.Body == nil || r.Body == http.NoBody {
		c.send()
		return
	}
	r.Body = &recorder{ReadCloser: r.Body, whole: c.sendWith}
}

// copies are those of one request.
type copies struct {
	to      []*backend
	request *http.Request
	body    []byte
}

func (c *copies) sendWith(body []byte) {
	c.body = body
	c.request.ContentLength = int64(len(body))
	c.send()
}

// mirroring counts the copies under way.
var mirroring atomic.Int64

// send sends the copies; it does not wait for their answers.
func (c *copies) send() {
	for _, b := range c.to {
		if mirroring.Add(1) > maxMirrors {
			mirroring.Add(-1)
			return
		}
		go func() {
			defer mirroring.Add(-1)
			c.sendTo(b)
		}()
	}
}

func (c *copies) sendTo(b *backend) {
	ctx, cancel := context.WithTimeout(c.request.Context(), mirrorTimeout)
	defer cancel()
	e := b.ready() // a copy is not worth waiting for an endpoint
	if e == nil {
		return
	}
	r := c.request.Clone(ctx)
	r.URL.Scheme, r.URL.Host = b.scheme(), e.address
	r.Body = nil
	if len(c.body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	res, err := e.transport.RoundTrip(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxMirrored))
	_ = res.Body.Close()
}

// recorder keeps what is read of a body, up to a limit, and gives it to whole when the body has ended.
type recorder struct {
	io.ReadCloser
	content []byte
	whole   func([]byte) // nil once called, or when the body is too large
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.whole == nil {
		return n, err
	}
	if len(r.content)+n > maxMirrored {
		r.content, r.whole = nil, nil
		return n, err
	}
	r.content = append(r.content, p[:n]...)
	if err == io.EOF {
		r.whole(r.content)
		r.content, r.whole = nil, nil
	}
	return n, err
}
