package view

import (
	"math"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/web/chart"
)

// brief is a route in a line of a list: what Of would give, without the parts that a list does not show.
type brief struct {
	numbers Numbers
	// good and bad are the requests per second in five seconds each.
	good, bad chart.Values
	any       bool // whether there was a request
}

// sums of some seconds, and how many of them are known.
type sum struct {
	good, bad, retries float64
	known              int
}

func (s *sum) add(m *moment) {
	s.known++
	for class, n := range m.classes {
		if class == 5 {
			s.bad += float64(n)
		} else {
			s.good += float64(n)
		}
	}
	s.retries += float64(m.retries)
}

// mean is a part of the sum for each known second; NaN without any.
func (s *sum) mean(part float64) float64 {
	if s.known == 0 {
		return math.NaN()
	}
	return part / float64(s.known)
}

// brief reads the line of a route.
func (h *History) brief(name string, now time.Time) brief {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.end(now)
	slots := int64(Span / spread)
	each := int64(spread / time.Second)
	out := brief{good: make(chart.Values, slots), bad: make(chart.Values, slots)}
	p := h.routes[name]
	if p == nil {
		p = &nothing
	}
	for i := range slots {
		var s sum
		from := (end/each - slots + 1 + i) * each
		for at := from; at < from+each; at++ {
			if m := p.moment(at); m != nil {
				s.add(m)
			}
		}
		out.good[i], out.bad[i] = s.mean(s.good), s.mean(s.bad)
		out.any = out.any || s.good+s.bad > 0
	}
	out.numbers = p.numbers(end)
	return out
}

// nothing is the past of a route without requests.
var nothing past

// moment is a second; nil when nothing is known of it.
func (p *past) moment(at int64) *moment {
	m := &p.moments[at%int64(len(p.moments))]
	if m.at != at || at == 0 {
		return nil
	}
	return m
}

func (p *past) numbers(end int64) Numbers {
	var s sum
	flight := math.NaN()
	for at := end - recent + 1; at <= end; at++ {
		if m := p.moment(at); m != nil {
			s.add(m)
			flight = float64(m.inFlight)
		}
	}
	n := Numbers{
		Rate: chart.Number(s.mean(s.good + s.bad)), Errors: chart.Number(math.NaN()),
		Retries: chart.Number(s.mean(s.retries)), InFlight: chart.Number(flight),
	}
	if s.good+s.bad > 0 {
		n.Errors = chart.Number(s.bad / (s.good + s.bad))
	}
	counts := make([]uint64, len(signal.LatencyBounds)+1)
	last := end / int64(spread/time.Second)
	for at := last - recentSlots + 1; at <= last; at++ {
		if slot := &p.slots[at%int64(len(p.slots))]; slot.at == at {
			for i, c := range slot.latency {
				counts[i] += uint64(c)
			}
		}
	}
	n.P50, n.P95, n.P99 = quantile(counts, .5), quantile(counts, .95), quantile(counts, .99)
	return n
}

func (b brief) spark() chart.Spark {
	return chart.Spark{Title: "Requests in the last five minutes", Unit: chart.Rate, Values: b.good, Tone: chart.ToneA, Over: b.bad, OverTone: chart.ToneBad}
}

// failures of a route by kind, over all that is remembered.
func (h *History) failures(name string) []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]uint64, len(h.Kinds))
	p := h.routes[name]
	if p == nil {
		return out
	}
	now := h.at.Unix() / int64(spread/time.Second)
	for i := range p.slots {
		s := &p.slots[i]
		if s.at <= now-int64(len(p.slots)) {
			continue
		}
		for k, n := range s.failures[:min(len(s.failures), len(out))] {
			out[k] += uint64(n)
		}
	}
	return out
}
