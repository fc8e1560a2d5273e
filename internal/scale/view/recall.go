package view

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

// Recall keeps the last minutes of the workloads that pages show, so that a page that is made each second reads what is
// new only. What nobody asked for during a minute is forgotten.
type Recall struct {
	mu     sync.Mutex
	traces map[signal.Workload]*trace
}

type trace struct {
	points []Point
	asked  time.Time
}

const (
	// Short is how far back the lists go.
	Short = 5 * time.Minute
	// forget is how long after the last question a trace is kept.
	forget = time.Minute
)

// Of returns what was seen of a workload during the last five minutes. The result is not changed afterwards.
func (r *Recall) Of(store *signal.Store, w signal.Workload, now time.Time) []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.traces == nil {
		r.traces = map[signal.Workload]*trace{}
	}
	t := r.traces[w]
	if t == nil {
		t = &trace{}
		r.traces[w] = t
	}
	t.asked = now
	from := now.Add(-Short)
	since := from
	if n := len(t.points); n > 0 && t.points[n-1].At.After(from) {
		since = t.points[n-1].At.Add(time.Nanosecond)
	}
	old := 0
	for old < len(t.points) && t.points[old].At.Before(from) {
		old++
	}
	t.points = append(slices.Clone(t.points[old:]), Points(store.History(w, since))...)
	for w, t := range r.traces {
		if now.Sub(t.asked) > forget {
			delete(r.traces, w)
		}
	}
	return t.points
}

// Points are live facts without what is not drawn.
func Points(facts []signal.Facts) []Point {
	out := make([]Point, len(facts))
	for i := range facts {
		out[i] = PointOf(&facts[i])
	}
	return out
}

// PointOf is the point of one fact.
func PointOf(f *signal.Facts) Point {
	nan := math.NaN()
	p := Point{At: f.At, Ready: float64(f.Ready), Desired: float64(f.Desired), Pods: float64(f.Pods),
		InFlight: nan, Rate: nan, CPU: nan, Memory: nan, CPUReserved: f.CPUReserved, MemoryReserved: f.MemoryReserved, Lags: f.Lags}
	if !f.TrafficAt.IsZero() {
		p.InFlight, p.Rate = f.InFlight, f.Rate
	}
	if !f.UsageAt.IsZero() {
		p.CPU, p.Memory = f.CPU, f.Memory
	}
	return p
}

// value is the number of the live facts that a trigger goes by; NaN when it is not known.
func (p *Point) value(t *Trigger) float64 {
	switch t.Live {
	case LiveInFlight:
		return p.InFlight
	case LiveRate:
		return p.Rate
	case LiveCPU:
		return share(p.CPU, p.CPUReserved, t)
	case LiveMemory:
		return share(p.Memory, p.MemoryReserved, t)
	case LiveLag:
		for _, l := range p.Lags {
			if l.Trigger == t.Metric {
				return l.Value
			}
		}
	}
	return math.NaN()
}

// share is a use in per cent of what is reserved, or as it is where the target is not a percentage.
func share(used, reserved float64, t *Trigger) float64 {
	switch {
	case !t.Percent:
		return used
	case reserved <= 0:
		return math.NaN()
	}
	return 100 * used / reserved
}

// wanted is how many pods a trigger asked for then, before windows and bounds; NaN when it is not known.
func (p *Point) wanted(t *Trigger) float64 {
	v := p.value(t)
	switch {
	case t.Target <= 0 || math.IsNaN(v):
		return math.NaN()
	case t.Percent || t.Whole:
		return p.Ready * v / t.Target
	}
	return v / t.Target
}
