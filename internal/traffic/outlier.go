package traffic

import (
	"sync/atomic"
	"time"
)

// Passive outlier detection. Envoy (consecutive_5xx, consecutive_gateway_failure, max_ejection_percent) and Finagle
// (FailureAccrualFactory: five failures in a row, 5 s to 300 s) have the same parts.
const (
	// gatewayErrorsToEject is how many attempts in a row must get no answer, or 502, 503 or 504.
	gatewayErrorsToEject = 5
	// serverErrorsToEject is how many answers of 500 and above in a row it takes. They may be the application's way to
	// say no, so it takes more of them, and another pod that does better.
	serverErrorsToEject = 10
	// firstEjection is doubled each time, up to longestEjection.
	firstEjection   = 5 * time.Second
	longestEjection = 5 * time.Minute
)

// health is what the attempts at one endpoint have shown.
type health struct {
	gatewayErrors, serverErrors atomic.Int32 // in a row
	until                       atomic.Int64 // Unix nanoseconds of the end of the ejection; 0 if there is none

	// The backend's mutex guards these.
	times int // ejected in a row
	last  time.Duration
	back  time.Time // end of the last ejection
}

func (h *health) ejected(now time.Time) bool {
	until := h.until.Load()
	return until != 0 && now.UnixNano() < until
}

// note counts an attempt and says whether the endpoint might have to be ejected.
func (h *health) note(f failure, code int) bool {
	gateway := f.ofGateway() || code >= 502 && code <= 504
	server := gateway || code >= 500
	suspect := count(&h.gatewayErrors, gateway) >= gatewayErrorsToEject
	return count(&h.serverErrors, server) >= serverErrorsToEject || suspect
}

// count adds one, or starts again; where nothing is wrong it only reads.
func count(n *atomic.Int32, bad bool) int32 {
	if bad {
		return n.Add(1)
	}
	if n.Load() != 0 {
		n.Store(0)
	}
	return 0
}

// suspicion is what is known when an endpoint failed too often.
type suspicion struct {
	gatewayErrors, serverErrors int32
	// ready is how many endpoints the backend has, ejected how many of them are out, wellOthers how many others had no
	// error last.
	ready, ejected, wellOthers int
	// times is how often it was ejected in a row, last for how long, and back since when it is back; zero if never out.
	times int
	last  time.Duration
	back  time.Duration
}

// decideEjection says for how long an endpoint gets no requests, 0 for not at all, and how many times in a row that
// makes. At most half of the endpoints are out at once, so the last one never is. An ejection is twice as long as the
// one before, unless the endpoint was back for longer than it was out.
func decideEjection(s suspicion) (time.Duration, int) {
	gateway := s.gatewayErrors >= gatewayErrorsToEject
	server := s.serverErrors >= serverErrorsToEject && s.wellOthers > 0
	if !gateway && !server || 2*(s.ejected+1) > s.ready {
		return 0, s.times
	}
	if s.times == 0 || s.back > s.last {
		return firstEjection, 1
	}
	return min(2*s.last, longestEjection), s.times + 1
}

// suspect ejects an endpoint if the decision says so.
func (b *backend) suspect(e *endpoint, now time.Time) {
	b.outliers.Lock()
	defer b.outliers.Unlock()
	if e.health.ejected(now) {
		return
	}
	set := b.set.Load()
	s := suspicion{
		gatewayErrors: e.health.gatewayErrors.Load(), serverErrors: e.health.serverErrors.Load(),
		ready: len(set.ready), times: e.health.times, last: e.health.last, back: now.Sub(e.health.back),
	}
	for _, other := range set.ready {
		switch {
		case other.health.ejected(now):
			s.ejected++
		case other != e && other.health.serverErrors.Load() == 0:
			s.wellOthers++
		}
	}
	out, times := decideEjection(s)
	if out == 0 {
		return
	}
	h := &e.health
	h.times, h.last, h.back = times, out, now.Add(out)
	// Once it is back, one more failure is enough, and one good answer is too.
	h.gatewayErrors.Store(gatewayErrorsToEject - 1)
	h.serverErrors.Store(serverErrorsToEject - 1)
	h.until.Store(h.back.UnixNano())
	b.lastEjection.Store(max(b.lastEjection.Load(), h.back.UnixNano()))
	b.counts.ejections.Add(1)
}

// withoutEjected leaves out the endpoints that get no requests now.
func withoutEjected(list []*endpoint, now time.Time) []*endpoint {
	kept := make([]*endpoint, 0, len(list))
	for _, e := range list {
		if !e.health.ejected(now) {
			kept = append(kept, e)
		}
	}
	return kept
}
