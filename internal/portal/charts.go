package portal

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/timeline/draw"
	"github.com/escale-dev/escale/internal/web/chart"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// chartSpan is how much of the past the charts of an App show.
	chartSpan = 5 * time.Minute
	// chartRecords is how many records its marks are looked for in.
	chartRecords = 100
	// latencyStep is how much time a point of the latency covers: single seconds hold too few requests.
	latencyStep = 5 * time.Second
	// holdSeen is for how long something seen counts when what follows is no further: facts are gathered each ten
	// seconds while nobody looks.
	holdSeen = 12 * time.Second
)

// appCharts are what an App did lately. Requests and Latency are nil for one that no gateway leads to.
type appCharts struct {
	Requests *chart.Lines `json:"requests,omitempty"`
	Latency  *chart.Lines `json:"latency,omitempty"`
	Pods     chart.Lines  `json:"pods"`
	CPU      *chart.Lines `json:"cpu,omitempty"`
	Scaleup  *scaleup     `json:"scaleup,omitempty"`
}

// scaleup is the last time that pods were added, with what took how long.
type scaleup struct {
	At        time.Time       `json:"at"`
	Change    string          `json:"change"`
	Reason    string          `json:"reason"`
	Waterfall chart.Waterfall `json:"waterfall"`
}

// workloadOf is what runs an App that is no job.
func workloadOf(app v1alpha1.App) signal.Workload {
	return signal.Workload{Kind: "Deployment", Namespace: app.Namespace, Name: app.Name}
}

// appChanges tells when an object changed, and each second that there are new facts.
func (p *portal) appChanges(ctx context.Context) <-chan struct{} {
	objects, ticks := p.hub.changes(ctx), p.signals.Subscribe(ctx)
	if ticks == nil {
		return objects
	}
	out := make(chan struct{}, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-objects:
			case e, ok := <-ticks:
				if !ok {
					ticks = nil
				}
				if !ok || e.Held != (types.NamespacedName{}) {
					continue
				}
			}
			select {
			case out <- struct{}{}:
			default: // it has one waiting
			}
		}
	}()
	return out
}

// chartsOf are the charts of an App; nil when nothing is known of it.
func chartsOf(past []signal.Facts, records []timeline.Record, now time.Time) *appCharts {
	if len(past) == 0 {
		return nil
	}
	marks := draw.Marks(records)
	c := &appCharts{Pods: linesOf("chart-pods", "Pods", chart.Count, time.Second, now, marks), Scaleup: lastScaleup(records)}
	c.Pods.Series = []chart.Series{
		{Name: "ready", Tone: chart.ToneA, Shape: chart.StepArea, Values: placed(past, time.Second, now, func(f *signal.Facts) float64 { return float64(f.Ready) })},
		{Name: "asked for", Tone: chart.ToneC, Shape: chart.StepDashed, Values: placed(past, time.Second, now, func(f *signal.Facts) float64 { return float64(f.Desired) })},
	}
	traffic, use := known(past)
	if traffic {
		c.Requests, c.Latency = requestLines(past, now, marks), latencyLines(past, now)
	}
	if use {
		c.CPU = cpuLines(past, now)
	}
	return c
}

// known says which of the facts there are.
func known(past []signal.Facts) (traffic, use bool) {
	for i := range past {
		traffic = traffic || !past[i].TrafficAt.IsZero()
		use = use || !past[i].UsageAt.IsZero()
	}
	return traffic, use
}

func begin(step time.Duration, now time.Time) (time.Time, int) {
	count := int(chartSpan / step)
	return now.Truncate(step).Add(-time.Duration(count-1) * step), count
}

func linesOf(id, title string, unit chart.Unit, step time.Duration, now time.Time, marks []chart.Mark) chart.Lines {
	start, _ := begin(step, now)
	return chart.Lines{ID: id, Title: title, Unit: unit, Start: start, Step: step, Live: true, Marks: marks}
}

// placed are the values of facts at the points of a chart.
func placed(past []signal.Facts, step time.Duration, now time.Time, of func(*signal.Facts) float64) chart.Values {
	start, count := begin(step, now)
	var seen iter.Seq2[time.Time, float64] = func(yield func(time.Time, float64) bool) {
		for i := range past {
			if !yield(past[i].At, of(&past[i])) {
				return
			}
		}
	}
	return chart.Place(start, step, count, holdSeen, seen)
}

// told is a value, or nothing where it was not observed.
func told(at time.Time, v float64) float64 {
	if at.IsZero() {
		return math.NaN()
	}
	return v
}

func requestLines(past []signal.Facts, now time.Time, marks []chart.Mark) *chart.Lines {
	l := linesOf("chart-requests", "Requests", chart.Rate, time.Second, now, marks)
	l.Stacked = true
	l.Series = []chart.Series{
		{Name: "answered", Tone: chart.ToneA, Values: placed(past, time.Second, now, func(f *signal.Facts) float64 { return told(f.TrafficAt, max(0, f.Rate-f.ErrorRate)) })},
		{Name: "errors", Tone: chart.ToneBad, Shape: chart.Dashed, Values: placed(past, time.Second, now, func(f *signal.Facts) float64 { return told(f.TrafficAt, f.ErrorRate) })},
	}
	return &l
}

func latencyLines(past []signal.Facts, now time.Time) *chart.Lines {
	l := linesOf("chart-latency", "Time to answer", chart.Seconds, latencyStep, now, nil)
	l.Empty, l.Quiet = "No request was answered in the last five minutes.", "answer"
	slots := make([]signal.Histogram, int(chartSpan/latencyStep))
	for i := range past {
		at := int(past[i].At.Sub(l.Start) / latencyStep)
		if at >= 0 && at < len(slots) && !past[i].At.Before(l.Start) {
			slots[at].Add(&past[i].Latency)
		}
	}
	counts := make([][]uint64, len(slots))
	for i := range slots {
		counts[i] = slots[i].Buckets[:]
	}
	l.Series = chart.Latencies(signal.LatencyBounds[:], counts)
	return &l
}

func cpuLines(past []signal.Facts, now time.Time) *chart.Lines {
	l := linesOf("chart-cpu", "CPU", chart.Cores, time.Second, now, nil)
	l.Series = []chart.Series{{Name: "used", Tone: chart.ToneA, Shape: chart.Area,
		Values: placed(past, time.Second, now, func(f *signal.Facts) float64 { return told(f.UsageAt, f.CPU) })}}
	reserved := placed(past, time.Second, now, func(f *signal.Facts) float64 { return f.CPUReserved })
	if reserved.Max() > 0 {
		l.Series = append(l.Series, chart.Series{Name: "reserved", Tone: chart.ToneSoft, Shape: chart.StepDashed, Values: reserved})
	}
	return &l
}

// lastScaleup is the newest one of which the stages are known; nil when there was none.
func lastScaleup(records []timeline.Record) *scaleup {
	for _, r := range records {
		if r.Action != "scaled up" || len(r.Stages) == 0 {
			continue
		}
		return &scaleup{At: r.Time, Change: r.From + " → " + r.To, Reason: sentence(r.Reason),
			Waterfall: draw.Waterfall("waterfall", r.Stages)}
	}
	return nil
}
