package traffic

import (
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/prometheus/client_golang/prometheus"
)

// SeriesKey names what is counted apart: a route ("namespace/name") and a backend of it ("namespace/service:port").
// The route is empty for requests that no route takes, the backend for answers of the gateway itself.
type SeriesKey struct{ Route, Backend string }

// series is the place of one SeriesKey's counts. They are made with its first request, because most routes of a large
// cluster have none for long.
type series struct {
	key    SeriesKey
	uses   int // by how many rules' backends; the compiler's
	counts atomic.Pointer[seriesCounts]
}

// use is the counts, made if they are not there.
func (s *series) use() *seriesCounts {
	if c := s.counts.Load(); c != nil {
		return c
	}
	s.counts.CompareAndSwap(nil, &seriesCounts{})
	return s.counts.Load()
}

// seriesCounts is what happened to the requests of one route to one backend.
type seriesCounts struct {
	inFlight atomic.Int64
	retries  atomic.Uint64
	// classes counts answers by the first digit of their code; 0 is for clients that left before the answer.
	classes  [6]atomic.Uint64
	failures [failures]atomic.Uint64
	latency  histogram
	in, out  atomic.Uint64 // bytes of bodies
}

var classNames = [...]string{"client gone", "1xx", "2xx", "3xx", "4xx", "5xx"}

func classOf(code int) int {
	if class := code / 100; class >= 1 && class <= 5 && code != clientClosed {
		return class
	}
	return 0
}

// observe counts a request whose answer's header took so long.
func (c *seriesCounts) observe(f *flow, took time.Duration) {
	c.classes[classOf(f.code)].Add(1)
	c.latency.observe(took)
	if f.failure != succeeded {
		c.failures[f.failure].Add(1)
	}
	if f.in > 0 {
		c.in.Add(uint64(f.in))
	}
	if f.out > 0 {
		c.out.Add(uint64(f.out))
	}
}

// backendCounts is what happened to the requests for one backend, over all routes.
type backendCounts struct {
	inFlight         atomic.Int64
	conversations    atomic.Int64 // upgraded connections, which are in flight too
	requests, errors atomic.Uint64
	latency          histogram
	lastSuccess      atomic.Int64 // Unix nanoseconds of the last answer of the backend below 500

	connect       histogram
	failures      [failures]atomic.Uint64 // of attempts
	holds         atomic.Uint64
	ejections     atomic.Uint64
	retriesDenied atomic.Uint64
}

// observe counts an answer whose header took so long. fromBackend is false for answers of the gateway itself.
func (c *backendCounts) observe(code int, took time.Duration, now time.Time, fromBackend bool) {
	c.requests.Add(1)
	c.latency.observe(took)
	switch {
	case code >= 500 || code < 100:
		c.errors.Add(1)
	case fromBackend:
		c.lastSuccess.Store(now.UnixNano())
	}
}

// shownBounds are the bounds of signal.LatencyBounds that metrics have: every second or third.
var shownBounds = map[float64]bool{
	.001: true, .002: true, .005: true, .01: true, .02: true, .05: true, .1: true, .2: true, .5: true,
	1: true, 2: true, 5: true, 10: true, 30: true, 60: true,
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("escale_gateway_"+name, help, labels, nil)
}

var (
	requestsDesc = desc("requests_total", "Requests answered, by the class of the answer's code.", "route", "backend", "code")
	errorsDesc   = desc("errors_total", "Requests that failed, by the kind of failure.", "route", "backend", "kind")
	latencyDesc  = desc("response_seconds", "Time from a request's header to its answer's header.", "route", "backend")
	inFlightDesc = desc("in_flight", "Requests being answered.", "route", "backend")
	retriesDesc  = desc("retries_total", "Requests sent again.", "route", "backend")
	bytesInDesc  = desc("received_bytes_total", "Bytes of requests' bodies.", "route", "backend")
	bytesOutDesc = desc("sent_bytes_total", "Bytes of answers' bodies.", "route", "backend")

	connectDesc       = desc("connect_seconds", "Time to make a connection to a pod.", "backend")
	attemptErrorsDesc = desc("attempt_errors_total", "Attempts at a pod that failed, by the kind of failure; some were repeated.", "backend", "kind")
	endpointsDesc     = desc("endpoints", "Endpoints by state: ready ones take requests; ejected ones do not for a while, after errors.", "backend", "state")
	ejectionsDesc     = desc("ejections_total", "Endpoints ejected after errors.", "backend")
	heldDesc          = desc("held", "Requests that wait for an endpoint.", "backend")
	holdsDesc         = desc("holds_total", "Requests that had to wait for an endpoint.", "backend")
	deniedDesc        = desc("retries_denied_total", "Requests not sent again because the retry budget was spent.", "backend")
	connectionsDesc   = desc("connections", "Connections from outside: on the raw path, and on the other one with a request (active) or without (idle).", "state")
	turnedAwayDesc    = desc("connections_turned_away_total", "Connections closed because there were too many: idle ones, or new ones.", "state")
	breakerDesc       = desc("breaker_open", "1 while the backend has as many requests as it may have: in flight, or pending.", "backend", "breaker")
)

var allDescs = []*prometheus.Desc{
	requestsDesc, errorsDesc, latencyDesc, inFlightDesc, retriesDesc, bytesInDesc, bytesOutDesc,
	connectDesc, attemptErrorsDesc, endpointsDesc, ejectionsDesc, heldDesc, holdsDesc, deniedDesc, breakerDesc,
	connectionsDesc, turnedAwayDesc,
}

// Collector exposes the gateway's counters to Prometheus: those of the routes there are, and of no others. Routes
// without a request so far are left out.
func (g *Gateway) Collector() prometheus.Collector { return collector{g} }

type collector struct{ gateway *Gateway }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range allDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	out := metricSink(ch)
	c.gateway.unrouted.collect(out)
	c.gateway.collectConnections(out)
	live := c.gateway.live.Load()
	if live == nil {
		return
	}
	for _, s := range live.table.series.list() {
		s.collect(out)
	}
	byName := map[string][]*backend{}
	for _, b := range c.gateway.backendList() {
		byName[b.name] = append(byName[b.name], b)
	}
	now := time.Now()
	for name, same := range byName {
		collectBackend(out, name, same, now)
	}
}

// metricSink takes metrics whose labels are known to fit.
type metricSink chan<- prometheus.Metric

func (s metricSink) counter(d *prometheus.Desc, n uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func (s metricSink) gauge(d *prometheus.Desc, n int64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

func (s metricSink) histogram(d *prometheus.Desc, h *signal.Histogram, labels ...string) {
	var count uint64
	buckets := make(map[float64]uint64, len(shownBounds))
	for i, bound := range signal.LatencyBounds {
		count += h.Buckets[i]
		if shownBounds[bound] {
			buckets[bound] = count
		}
	}
	count += h.Buckets[len(signal.LatencyBounds)]
	s <- prometheus.MustNewConstHistogram(d, count, h.Sum, buckets, labels...)
}

func (s metricSink) failures(d *prometheus.Desc, counts *[failures]atomic.Uint64, labels ...string) {
	for kind := range counts {
		if n := counts[kind].Load(); n > 0 {
			s.counter(d, n, append(labels, failure(kind).String())...)
		}
	}
}

func (s *series) collect(out metricSink) {
	c, key := s.counts.Load(), s.key
	if c == nil {
		return
	}
	for i := range c.classes {
		if n := c.classes[i].Load(); n > 0 {
			out.counter(requestsDesc, n, key.Route, key.Backend, classNames[i])
		}
	}
	out.failures(errorsDesc, &c.failures, key.Route, key.Backend)
	var latency signal.Histogram
	c.latency.addTo(&latency)
	out.histogram(latencyDesc, &latency, key.Route, key.Backend)
	out.gauge(inFlightDesc, c.inFlight.Load(), key.Route, key.Backend)
	out.counter(retriesDesc, c.retries.Load(), key.Route, key.Backend)
	out.counter(bytesInDesc, c.in.Load(), key.Route, key.Backend)
	out.counter(bytesOutDesc, c.out.Load(), key.Route, key.Backend)
}

// collectBackend adds up the backends of one name, which differ in how they are spoken to.
func collectBackend(out metricSink, name string, same []*backend, now time.Time) {
	var s backendSum
	for _, b := range same {
		s.add(b, now)
	}
	out.histogram(connectDesc, &s.connect, name)
	for kind, n := range s.failures {
		if n > 0 {
			out.counter(attemptErrorsDesc, n, name, failure(kind).String())
		}
	}
	out.gauge(endpointsDesc, s.ready, name, "ready")
	out.gauge(endpointsDesc, s.draining, name, "draining")
	out.gauge(endpointsDesc, s.ejected, name, "ejected")
	out.counter(ejectionsDesc, s.ejections, name)
	out.gauge(heldDesc, s.held, name)
	out.counter(holdsDesc, s.holds, name)
	out.counter(deniedDesc, s.denied, name)
	out.gauge(breakerDesc, s.full, name, "in flight")
	out.gauge(breakerDesc, s.pendingFull, name, "pending")
}

// backendSum is the numbers of one backend.
type backendSum struct {
	connect                  signal.Histogram
	failures                 [failures]uint64
	ready, draining, ejected int64
	held                     int64
	holds, ejections, denied uint64
	full, pendingFull        int64 // 1 while the breaker is open
}

func (s *backendSum) add(b *backend, now time.Time) {
	b.counts.connect.addTo(&s.connect)
	for kind := range s.failures {
		s.failures[kind] += b.counts.failures[kind].Load()
	}
	set := b.set.Load()
	taking := int64(len(withoutEjected(set.ready, now)))
	s.ready += taking
	s.ejected += int64(len(set.ready)) - taking
	s.draining += int64(len(set.draining))
	s.held += b.held.Load()
	s.holds += b.counts.holds.Load()
	s.ejections += b.counts.ejections.Load()
	s.denied += b.counts.retriesDenied.Load()
	if b.atPods() >= maxInFlight(len(set.ready)) {
		s.full = 1
	}
	if b.held.Load() >= maxHeld {
		s.pendingFull = 1
	}
}

// collectConnections tells of the connections of both paths.
func (g *Gateway) collectConnections(out metricSink) {
	open, resting := g.connections.count()
	out.gauge(connectionsDesc, int64(g.fronts.connections()), "raw")
	out.gauge(connectionsDesc, int64(open-resting), "active")
	out.gauge(connectionsDesc, int64(resting), "idle")
	out.counter(turnedAwayDesc, g.connections.evicted.Load()+g.fronts.room.Evicted.Load(), "idle")
	out.counter(turnedAwayDesc, g.connections.refused.Load()+g.fronts.room.Refused.Load(), "new")
}
