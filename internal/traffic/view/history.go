package view

import (
	"math"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/web/chart"
)

// Classes are the classes of answers by the first digit of the code; the first is for clients that left before.
const Classes = 6

// Counts is what a gateway has counted of one route and backend since it started: numbers only grow, but InFlight.
type Counts struct {
	// Route is "namespace/name", empty for requests that no route takes.
	Route    string
	InFlight int64
	Retries  uint64
	Classes  [Classes]uint64
	// Failures by kind, in the order of Kinds.
	Failures []uint64
	Latency  signal.Histogram
}

const (
	// Span is how far back the history goes.
	Span = 5 * time.Minute
	// spread is how much time one histogram covers.
	spread     = 5 * time.Second
	mostRoutes = 500
	// longest is the longest time between two readings that rates are taken over. What is longer is a gap.
	longest = 30 * time.Second
)

// History remembers what passed through each route. Its methods may be called at the same time from anywhere.
type History struct {
	// Kinds are the names of failures.
	Kinds []string

	mu     sync.Mutex
	at     time.Time
	last   map[string]*Counts
	routes map[string]*past
}

// past is the last five minutes of a route.
type past struct {
	moments [int(Span / time.Second)]moment
	slots   [int(Span / spread)]slot
}

// moment is the rates of one second; its place in the ring is its Unix time.
type moment struct {
	at       int64
	classes  [Classes]float32
	retries  float32
	inFlight float32
}

// slot is what was answered during five seconds.
type slot struct {
	at       int64 // Unix time in slots
	latency  [len(signal.LatencyBounds) + 1]uint32
	failures []uint32
}

// All is the name of the sum of all routes.
const All = "*"

// Observe takes a reading of all counters. Readings within half a second of the one before are left out.
func (h *History) Observe(now time.Time, all []Counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	took := now.Sub(h.at)
	if took < time.Second/2 && took >= 0 {
		return
	}
	next := sums(all)
	for name, c := range next {
		before := h.last[name]
		if before == nil || before.greater(c) {
			before = &Counts{}
			if h.last == nil || took > longest { // counted at a time nobody knows
				before = c
			}
		}
		if took > 0 && took <= longest {
			h.note(name, now, took, before, c)
		}
	}
	h.at, h.last = now, next
	for name := range h.routes {
		if next[name] == nil {
			delete(h.routes, name)
		}
	}
}

// sums adds up the backends of each route, and all of them.
func sums(all []Counts) map[string]*Counts {
	out := map[string]*Counts{All: {}}
	for i := range all {
		c := &all[i]
		if out[c.Route] == nil {
			out[c.Route] = &Counts{Route: c.Route}
		}
		out[c.Route].add(c)
		out[All].add(c)
	}
	return out
}

func (c *Counts) add(o *Counts) {
	c.InFlight += o.InFlight
	c.Retries += o.Retries
	for i, n := range o.Classes {
		c.Classes[i] += n
	}
	if c.Failures == nil {
		c.Failures = make([]uint64, len(o.Failures))
	}
	for i, n := range o.Failures[:min(len(o.Failures), len(c.Failures))] {
		c.Failures[i] += n
	}
	c.Latency.Add(&o.Latency)
}

func (c *Counts) total() uint64 {
	var n uint64
	for _, x := range c.Classes {
		n += x
	}
	return n
}

// greater says that c counted more than a later reading: its gateway began anew, or a route was removed.
func (c *Counts) greater(later *Counts) bool {
	for i, n := range c.Classes {
		if n > later.Classes[i] {
			return true
		}
	}
	return false
}

// note writes the rates of the seconds since the reading before.
func (h *History) note(name string, now time.Time, took time.Duration, before, c *Counts) {
	p := h.routes[name]
	if p == nil {
		if c.total() == before.total() && c.InFlight == 0 || len(h.routes) >= mostRoutes && name != All {
			return
		}
		if h.routes == nil {
			h.routes = map[string]*past{}
		}
		p = &past{}
		h.routes[name] = p
	}
	m := moment{inFlight: float32(c.InFlight), retries: rate(before.Retries, c.Retries, took)}
	for i := range m.classes {
		m.classes[i] = rate(before.Classes[i], c.Classes[i], took)
	}
	for s := range int64(max(1, math.Round(took.Seconds()))) {
		m.at = now.Unix() - s
		p.moments[m.at%int64(len(p.moments))] = m
	}
	p.spread(now, before, c)
}

func rate(before, after uint64, took time.Duration) float32 {
	if after < before {
		return 0
	}
	return float32(float64(after-before) / took.Seconds())
}

func (p *past) spread(now time.Time, before, c *Counts) {
	at := now.Unix() / int64(spread/time.Second)
	s := &p.slots[at%int64(len(p.slots))]
	if s.at != at {
		*s = slot{at: at, failures: make([]uint32, len(c.Failures))}
	}
	for i, n := range c.Latency.Buckets {
		if b := before.Latency.Buckets[i]; n > b {
			s.latency[i] += uint32(min(n-b, math.MaxUint32/2))
		}
	}
	for i, n := range c.Failures[:min(len(c.Failures), len(s.failures))] {
		b := uint64(0)
		if i < len(before.Failures) {
			b = before.Failures[i]
		}
		if n > b {
			s.failures[i] += uint32(min(n-b, math.MaxUint32/2))
		}
	}
}

// Passed is the last five minutes of a route, ready to be drawn.
type Passed struct {
	// Start is the time of the first second; Classes, Retries and InFlight have a value per second, NaN where nothing is
	// known.
	Start             time.Time
	Classes           [Classes]chart.Values
	Retries, InFlight chart.Values
	// SlotStart is the time of the first five seconds, Latency how many answers fell into each bucket then.
	SlotStart time.Time
	Latency   [][]uint64
	// Failures by kind over all of it.
	Failures []uint64
}

// Of returns what passed through a route until now. The newest second is the one that is over.
func (h *History) Of(name string, now time.Time) Passed {
	h.mu.Lock()
	defer h.mu.Unlock()
	seconds := int64(Span / time.Second)
	end := h.end(now)
	out := Passed{Start: time.Unix(end-seconds+1, 0), Failures: make([]uint64, len(h.Kinds))}
	for i := range out.Classes {
		out.Classes[i] = make(chart.Values, seconds)
	}
	out.Retries, out.InFlight = make(chart.Values, seconds), make(chart.Values, seconds)
	p := h.routes[name]
	for s := range seconds {
		out.second(int(s), p, end-seconds+1+s)
	}
	slots := int64(Span / spread)
	last := end / int64(spread/time.Second)
	out.SlotStart = time.Unix((last-slots+1)*int64(spread/time.Second), 0)
	out.Latency = make([][]uint64, slots)
	if p != nil {
		for s := range slots {
			out.slot(int(s), p, last-slots+1+s)
		}
	}
	return out
}

// end is the newest second to show.
func (h *History) end(now time.Time) int64 {
	end := now.Unix()
	if h.at.Unix() == end-1 { // the reading of this second has not come yet
		end--
	}
	return end
}

func (out *Passed) second(i int, p *past, at int64) {
	nan := math.NaN()
	m := moment{}
	known := false
	if p != nil {
		m = p.moments[at%int64(len(p.moments))]
		known = m.at == at
	}
	for c := range out.Classes {
		out.Classes[c][i] = nan
		if known {
			out.Classes[c][i] = float64(m.classes[c])
		}
	}
	out.Retries[i], out.InFlight[i] = nan, nan
	if known {
		out.Retries[i], out.InFlight[i] = float64(m.retries), float64(m.inFlight)
	}
}

func (out *Passed) slot(i int, p *past, at int64) {
	s := &p.slots[at%int64(len(p.slots))]
	if s.at != at {
		return
	}
	out.Latency[i] = make([]uint64, len(s.latency))
	for b, n := range s.latency {
		out.Latency[i][b] = uint64(n)
	}
	for k, n := range s.failures[:min(len(s.failures), len(out.Failures))] {
		out.Failures[k] += uint64(n)
	}
}
