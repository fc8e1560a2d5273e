package traffic

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SeriesKey names what is counted apart: a route ("namespace/name") and a backend of it ("namespace/service:port").
// The route is empty for requests that no route takes, the backend for answers of the gateway itself.
type SeriesKey struct{ Route, Backend string }

// latencyBounds are the upper bounds of the latency histogram, in seconds.
var latencyBounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// series counts the requests of one route to one backend.
type series struct {
	inFlight atomic.Int64
	retries  atomic.Uint64
	// classes counts answers by the first digit of their code; 0 is for clients that left before the answer.
	classes [6]atomic.Uint64
	// latency counts per bucket, not cumulative; the last is for all that is slower than every bound.
	latency      [len(latencyBounds) + 1]atomic.Uint64
	latencyNanos atomic.Int64
	lastSuccess  atomic.Int64 // Unix nanoseconds of the last answer of the backend below 500
}

var classNames = [...]string{"client gone", "1xx", "2xx", "3xx", "4xx", "5xx"}

// observe counts an answer whose header took so long. fromBackend is false for answers of the gateway itself.
func (s *series) observe(code int, took time.Duration, now time.Time, fromBackend bool) {
	class := code / 100
	if class < 1 || class > 5 || code == clientClosed {
		class = 0
	}
	s.classes[class].Add(1)
	bucket, _ := slices.BinarySearch(latencyBounds[:], took.Seconds())
	s.latency[bucket].Add(1)
	s.latencyNanos.Add(int64(took))
	if fromBackend && class > 0 && class < 5 {
		s.lastSuccess.Store(now.UnixNano())
	}
}

func (s *series) total() uint64 {
	var sum uint64
	for i := range s.classes {
		sum += s.classes[i].Load()
	}
	return sum
}

var (
	seriesLabels = []string{"route", "backend"}
	requestsDesc = prometheus.NewDesc("escale_gateway_requests_total",
		"Requests answered, by the class of the answer's code.", []string{"route", "backend", "code"}, nil)
	latencyDesc = prometheus.NewDesc("escale_gateway_response_seconds",
		"Time from a request's header to its answer's header.", seriesLabels, nil)
	inFlightDesc = prometheus.NewDesc("escale_gateway_in_flight",
		"Requests being answered.", seriesLabels, nil)
	retriesDesc = prometheus.NewDesc("escale_gateway_retries_total",
		"Requests sent again to another endpoint.", seriesLabels, nil)
	heldDesc = prometheus.NewDesc("escale_gateway_held",
		"Requests that wait for an endpoint.", []string{"backend"}, nil)
	endpointsDesc = prometheus.NewDesc("escale_gateway_endpoints",
		"Endpoints that take requests.", []string{"backend"}, nil)
)

// Collector exposes the gateway's counters to Prometheus. Routes and backends without a request so far are left out.
func (g *Gateway) Collector() prometheus.Collector { return collector{g} }

type collector struct{ gateway *Gateway }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, latencyDesc, inFlightDesc, retriesDesc, heldDesc, endpointsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.gateway.unrouted.collect(ch, SeriesKey{})
	live := c.gateway.live.Load()
	if live == nil {
		return
	}
	for i, key := range live.table.Series {
		live.series[i].collect(ch, key)
	}
	seen := map[string]bool{}
	for _, b := range live.backends {
		name := b.key.String()
		if seen[name] {
			continue
		}
		seen[name] = true
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(b.held.Load()), name)
		ch <- prometheus.MustNewConstMetric(endpointsDesc, prometheus.GaugeValue, float64(len(b.set.Load().ready)), name)
	}
}

func (s *series) collect(ch chan<- prometheus.Metric, key SeriesKey) {
	if s.total() == 0 && s.inFlight.Load() == 0 {
		return
	}
	for i := range s.classes {
		if n := s.classes[i].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(n), key.Route, key.Backend, classNames[i])
		}
	}
	var count uint64
	buckets := make(map[float64]uint64, len(latencyBounds))
	for i, bound := range latencyBounds {
		count += s.latency[i].Load()
		buckets[bound] = count
	}
	count += s.latency[len(latencyBounds)].Load()
	sum := time.Duration(s.latencyNanos.Load()).Seconds()
	ch <- prometheus.MustNewConstHistogram(latencyDesc, count, sum, buckets, key.Route, key.Backend)
	ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(s.inFlight.Load()), key.Route, key.Backend)
	ch <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(s.retries.Load()), key.Route, key.Backend)
}
