package traffic

import "time"

// What both paths of the data plane, the one on net/http and the raw one, do alike with a request. Nothing in this file
// knows *http.Request, nothing allocates once a route had its first request, and everything may be called at the same
// time from anywhere, except the methods of one flow:
//
//	flow.begin            the route and the backend are known; the request counts as in flight
//	backend.pick          an endpoint, without waiting; errNoEndpoint says that the request has to be held, which
//	                      backend.endpoint does; errOverloaded that the breaker is open
//	backend.dialled       a connection was made, or not
//	backend.attempted     an attempt at an endpoint ended: with the header of an answer, or with a failure
//	backend.mayRetry      whether a request that a pod may have seen can be sent again
//	flow.answer, flow.fail    the header of the answer is there; the request failed
//	flow.end              the last byte is sent, or will never be

// flow is the account of one request.
type flow struct {
	counts   *seriesCounts
	backend  *backend // nil when the gateway answers itself
	started  time.Time
	answered time.Time // when the answer's header was there; zero before
	code     int
	failure  failure
	fromBack bool
	upgraded bool  // the connection no longer carries requests
	in, out  int64 // bytes of bodies
}

func (f *flow) begin(s *series, b *backend, now time.Time) {
	f.counts, f.backend, f.started = s.use(), b, now
	f.counts.inFlight.Add(1)
	if b != nil {
		b.counts.inFlight.Add(1)
	}
}

// answer notes the header of a backend's answer.
func (f *flow) answer(code int, now time.Time) {
	f.code, f.fromBack, f.answered = code, true, now
}

// fail notes why the request failed, and the code that says so to the client.
func (f *flow) fail(kind failure, code int) { f.failure, f.code = kind, code }

// upgrade notes that what follows is a conversation.
func (f *flow) upgrade() {
	f.upgraded = true
	f.backend.counts.conversations.Add(1)
}

func (f *flow) end(now time.Time) {
	if f.answered.IsZero() {
		f.answered = now
	}
	took := f.answered.Sub(f.started)
	f.counts.observe(f, took)
	f.counts.inFlight.Add(-1)
	if f.backend == nil {
		return
	}
	f.backend.counts.observe(f.code, took, now, f.fromBack)
	f.backend.counts.inFlight.Add(-1)
	if f.upgraded {
		f.backend.counts.conversations.Add(-1)
	}
}

// pick chooses an endpoint that was not tried, without waiting for one.
func (b *backend) pick(tried []*endpoint) (*endpoint, error) {
	set := b.set.Load()
	if b.atPods() > maxInFlight(len(set.ready)) {
		return nil, errOverloaded
	}
	if e := b.choose(set, tried); e != nil {
		return e, nil
	}
	return nil, errNoEndpoint
}

// choose leaves out the ejected endpoints while there are others.
func (b *backend) choose(set *endpointSet, tried []*endpoint) *endpoint {
	if last := b.lastEjection.Load(); last != 0 {
		if now := time.Now(); now.UnixNano() < last {
			if e := lessLoaded(withoutEjected(set.ready, now), tried); e != nil {
				return e
			}
		}
	}
	return set.choose(tried)
}

// dialled notes how long a connection took to make.
func (b *backend) dialled(took time.Duration, f failure) {
	if f == succeeded {
		b.counts.connect.observe(took)
	}
}

// attempted notes how an attempt at an endpoint ended: the code of its answer, or why there is none.
func (b *backend) attempted(e *endpoint, f failure, code int, now time.Time) {
	if f.ofClient() {
		return
	}
	if f == succeeded {
		b.answered(e, now)
	} else {
		b.counts.failures[f].Add(1)
	}
	if e.health.note(f, code) {
		b.suspect(e, now)
	}
}

// mayRetry takes one retry from the backend's budget.
func (b *backend) mayRetry(now time.Time) bool {
	if b.budget.take(b.counts.requests.Load()+uint64(max(0, b.counts.inFlight.Load())), now) {
		return true
	}
	b.counts.retriesDenied.Add(1)
	return false
}
