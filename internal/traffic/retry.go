package traffic

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// retryPolicy is what a rule says about sending a request again, after GEP-1731: when the answer has one of these codes,
// when the backend did not answer in time, and when the connection broke.
type retryPolicy struct {
	codes    []int
	attempts int // beside the first
	backoff  time.Duration
}

const (
	defaultRetries = 2
	defaultBackoff = 25 * time.Millisecond
	// maxBackoff bounds the doubling, not what a rule asks for.
	maxBackoff = time.Second
	// maxReplayed is the largest body that is kept to be sent again. Requests with a larger one, or one of unknown
	// length, are sent once.
	maxReplayed = 64 << 10
)

func (r *rule) setRetry(field string, spec *gatewayv1.HTTPRouteRetry) string {
	if spec == nil {
		return ""
	}
	p := &retryPolicy{attempts: deref(spec.Attempts, defaultRetries), backoff: defaultBackoff}
	for _, code := range spec.Codes {
		p.codes = append(p.codes, int(code))
	}
	if spec.Backoff != nil {
		d, err := time.ParseDuration(string(*spec.Backoff))
		if err != nil {
			return fmt.Sprintf("%s.retry.backoff: %v", field, err)
		}
		p.backoff = d
	}
	r.retry = p
	return ""
}

// wait is how long to wait before the n-th repetition, from 0: the backoff, doubled each time, plus up to a quarter so
// that clients that failed together do not come back together.
func (p *retryPolicy) wait(n int) time.Duration {
	d := p.backoff
	for range n {
		d = max(p.backoff, min(2*d, maxBackoff))
	}
	if quarter := int64(d) / 4; quarter > 0 {
		d += time.Duration(rand.Int64N(quarter))
	}
	return d
}

// sender sends a request as its rule says: with copies, and again when the rule's policy asks for it.
type sender struct{ forwarder }

// RoundTrip implements http.RoundTripper.
func (s sender) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	if x.copyTo != nil {
		mirrorTo(x.copyTo, r)
	}
	if x.rule.retry == nil {
		return s.forwarder.RoundTrip(r)
	}
	replay, err := replayable(r)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		res, err := s.forwarder.RoundTrip(r)
		if n == x.rule.retry.attempts || replay == nil || !x.rule.retry.applies(r.Context(), res, err) || !x.mayRepeat() {
			return res, err
		}
		if res != nil {
			_ = res.Body.Close()
		}
		x.release()
		if !sleep(r.Context(), x.rule.retry.wait(n)) {
			return nil, context.Cause(r.Context())
		}
		r = replay()
	}
}

// applies says whether the policy wants a request sent again that ended so.
func (p *retryPolicy) applies(ctx context.Context, res *http.Response, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		return !isRefusal(err)
	}
	return slices.Contains(p.codes, res.StatusCode)
}

// replayable returns what makes the request anew; nil if that cannot be done. It reads a body that is short enough.
func replayable(r *http.Request) (func() *http.Request, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() *http.Request { return r.Clone(r.Context()) }, nil
	}
	if r.ContentLength < 0 || r.ContentLength > maxReplayed || r.Header.Get("Upgrade") != "" {
		return nil, nil
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	again := func() *http.Request {
		next := r.Clone(r.Context())
		next.Body = io.NopCloser(bytes.NewReader(content))
		return next
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	return again, nil
}

// sleep waits, and says whether ctx is still good.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
