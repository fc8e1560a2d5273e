package view

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/timeline/draw"
	"github.com/escale-dev/escale/internal/web"
	"github.com/escale-dev/escale/internal/web/chart"
)

// WorkloadPage is the page of one scaled workload.
type WorkloadPage struct {
	Row
	App      string        `json:"-"`
	Ranges   []Range       `json:"-"`
	Limit    string        `json:"limit,omitempty"`
	Until    time.Time     `json:"until,omitzero"`
	Stats    []chart.Stat  `json:"-"`
	Notices  []web.Notice  `json:"notices"`
	Pods     chart.Lines   `json:"podsOverTime"`
	Demands  []chart.Lines `json:"demandOverTime"`
	CPUPast  chart.Lines   `json:"cpuOverTime"`
	MemPast  chart.Lines   `json:"memoryOverTime"`
	Sources  []TriggerRow  `json:"sources"`
	Waste    []WasteRow    `json:"waste"`
	Scaleups []ScaleupRow  `json:"scaleups"`
	Hours    []HoursPart   `json:"officeHours"`
}

// Title of the page.
func (p WorkloadPage) Title() string { return p.Namespace + "/" + p.Name }

// HoursPart is the office hours of a workload, with a week where they can be drawn as one.
type HoursPart struct {
	HoursRow
	Week *chart.Week `json:"week,omitempty"`
}

// TriggerRow is a source of demand.
type TriggerRow struct {
	Type   string    `json:"type"`
	Metric string    `json:"metric"`
	State  web.State `json:"state"`
	Value  string    `json:"value"`
	Target string    `json:"target"`
	Pods   int32     `json:"pods"`
	Active bool      `json:"active"`
	At     time.Time `json:"at,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// Range is how much of the past a page shows.
type Range struct {
	Key, Text string
	Page      string
	Current   bool
}

// ranges are the spans a person may choose, with the step of each.
var ranges = []struct {
	key, text  string
	span, step time.Duration
}{
	{"", "5 min", 5 * time.Minute, time.Second}, {"15m", "15 min", 15 * time.Minute, 5 * time.Second}, {"1h", "1 h", time.Hour, 15 * time.Second},
}

// SpanOf is how far back a range goes; the first one for a key that is not known.
func SpanOf(key string) time.Duration {
	for _, r := range ranges {
		if r.key == key {
			return r.span
		}
	}
	return ranges[0].span
}

// span is a stretch of time until now, in steps.
type span struct {
	end   time.Time
	step  time.Duration
	count int
}

func spanOf(key string, now time.Time) span {
	for _, r := range ranges {
		if r.key == key {
			return span{end: now, step: r.step, count: int(r.span / r.step)}
		}
	}
	return spanOf("", now)
}

func (s span) start() time.Time {
	return s.end.Truncate(s.step).Add(-time.Duration(s.count-1) * s.step)
}

// hold is for how long a point counts: facts of former minutes are ten seconds apart.
const hold = 12 * time.Second

func (s span) place(past []Point, of func(*Point) float64) chart.Values {
	var seen iter.Seq2[time.Time, float64] = func(yield func(time.Time, float64) bool) {
		for i := range past {
			if !yield(past[i].At, of(&past[i])) {
				return
			}
		}
	}
	wait := hold
	if s.step == time.Second && len(past) > 1 && past[len(past)-1].At.Sub(past[len(past)-2].At) < 2*time.Second {
		wait = 2 * time.Second
	}
	return chart.Place(s.start(), s.step, s.count, max(wait, s.step), seen)
}

func (s span) lines(id, title string, unit chart.Unit, marks []chart.Mark) chart.Lines {
	return chart.Lines{ID: id, Title: title, Unit: unit, Start: s.start(), Step: s.step, Live: true, Marks: marks}
}

// WorkloadOf is the page of a workload; false when nothing of that name is scaled. The range is one of the keys of
// SpanOf.
func WorkloadOf(f Facts, namespace, name, key string) (WorkloadPage, bool) {
	i := slices.IndexFunc(f.Workloads, func(w Workload) bool { return w.Namespace == namespace && w.Name == name })
	if i < 0 {
		return WorkloadPage{}, false
	}
	w := f.Workloads[i]
	s := spanOf(key, f.Now)
	p := WorkloadPage{Row: rowOf(w, f.Now), App: w.App, Limit: sentence(w.Limit), Until: w.Until, Notices: notices(w, f.Now),
		Sources: []TriggerRow{}, Waste: []WasteRow{}, Hours: []HoursPart{}}
	for _, r := range ranges {
		page := p.Page
		if r.key != "" {
			page += "?range=" + r.key
		}
		p.Ranges = append(p.Ranges, Range{Key: r.key, Text: r.text, Page: page, Current: r.key == key})
	}
	marks := draw.Marks(of(f.Recent, w))
	p.Pods = podLines(w, s, marks)
	for i := range w.Triggers {
		p.Sources = append(p.Sources, triggerRow(&w.Triggers[i]))
		if w.Triggers[i].Live != LiveNone {
			p.Demands = append(p.Demands, demandLines(i, w, s))
		}
	}
	p.CPUPast = useLines("cpu", "CPU", chart.Cores, w, s, func(p *Point) float64 { return p.CPU }, func(p *Point) float64 { return p.CPUReserved })
	p.MemPast = useLines("memory", "Memory", chart.Bytes, w, s, func(p *Point) float64 { return p.Memory }, func(p *Point) float64 { return p.MemoryReserved })
	if row, ok := wasteOf(w); ok {
		p.Waste = append(p.Waste, row)
	}
	p.Scaleups = scaleups(Facts{Now: f.Now, Workloads: []Workload{w}, Recent: of(f.Recent, w)})
	p.Stats = workloadStats(w, p)
	p.Hours = hoursOf(f, w)
	return p, true
}

// of are the records of a workload.
func of(records []timeline.Record, w Workload) []timeline.Record {
	var out []timeline.Record
	for _, r := range records {
		if r.Object.Namespace == w.Namespace && (r.Object.Name == w.Workload.Name || r.Object.Name == w.Name) {
			out = append(out, r)
		}
	}
	return out
}

func podLines(w Workload, s span, marks []chart.Mark) chart.Lines {
	l := s.lines("pods", "Pods against demand", "pods", marks)
	l.Empty = "Nothing has been seen of it yet. Pods appear here within a second."
	l.Series = []chart.Series{
		{Name: "ready", Values: s.place(w.Past, func(p *Point) float64 { return p.Ready }), Tone: chart.ToneA, Shape: chart.StepArea},
		{Name: "asked for", Values: s.place(w.Past, func(p *Point) float64 { return p.Desired }), Tone: chart.ToneC, Shape: chart.StepDashed},
	}
	demand := s.place(w.Past, func(p *Point) float64 { return p.most(w.Triggers) })
	if _, i := demand.Last(); i >= 0 {
		l.Series = append(l.Series, chart.Series{Name: "demand", Values: demand, Tone: chart.ToneB, Shape: chart.Fine})
	}
	if top := l.Series[0].Values.Max(); w.Max > 0 && float64(w.Max) <= 2*max(top, float64(w.Wanted), 2) {
		l.Limits = append(l.Limits, chart.Limit{Name: fmt.Sprintf("at most %d", w.Max), Value: float64(w.Max), Tone: chart.ToneSoft})
	}
	return l
}

// most is the highest number of pods that a trigger asked for then; NaN where none is known.
func (p *Point) most(triggers []Trigger) float64 {
	out := math.NaN()
	for i := range triggers {
		if n := p.wanted(&triggers[i]); math.IsNaN(out) || n > out {
			out = n
		}
	}
	return out
}

// demandLines is a trigger's number, against what its pods take.
func demandLines(i int, w Workload, s span) chart.Lines {
	t := &w.Triggers[i]
	l := s.lines(fmt.Sprintf("demand-%d", i), demandTitle(t), unitOf(t), nil)
	l.Empty = "Its source has told no number yet."
	l.Series = []chart.Series{{Name: "demand", Values: s.place(w.Past, func(p *Point) float64 { return p.value(t) }), Tone: chart.ToneB, Shape: chart.Area}}
	if _, i := l.Series[0].Values.Last(); i < 0 {
		l.Series = nil
		if t.Error != "" {
			l.Empty = "Its source cannot be read: " + t.Error + "."
		}
		return l
	}
	switch {
	case t.Whole || t.Percent:
		l.Limits = []chart.Limit{{Name: "target", Value: t.Target, Tone: chart.ToneSoft}}
	case t.Target > 0:
		l.Series = append(l.Series, chart.Series{Name: "what ready pods take", Tone: chart.ToneA, Shape: chart.StepDashed,
			Values: s.place(w.Past, func(p *Point) float64 { return p.Ready * t.Target })})
	}
	return l
}

func demandTitle(t *Trigger) string {
	switch t.Live {
	case LiveInFlight:
		return "Requests in flight"
	case LiveRate:
		return "Requests"
	case LiveCPU:
		return "CPU used of what is reserved"
	case LiveMemory:
		return "Memory used of what is reserved"
	}
	return strings.ToUpper(t.Type[:min(1, len(t.Type))]) + t.Type[min(1, len(t.Type)):]
}

func unitOf(t *Trigger) chart.Unit {
	switch {
	case t.Live == LiveRate:
		return chart.Rate
	case t.Percent:
		return "per cent"
	case t.Live == LiveInFlight:
		return chart.Count
	}
	return chart.Unit(t.Unit)
}

func useLines(id, title string, unit chart.Unit, w Workload, s span, used, reserved func(*Point) float64) chart.Lines {
	l := s.lines(id, title, unit, nil)
	l.Empty = "The use of its pods is not known: the node has not told it."
	values := s.place(w.Past, used)
	if _, i := values.Last(); i < 0 {
		return l
	}
	l.Series = []chart.Series{{Name: "used", Values: values, Tone: chart.ToneA, Shape: chart.Area}}
	if r := s.place(w.Past, reserved); r.Max() > 0 {
		l.Series = append(l.Series, chart.Series{Name: "reserved", Values: r, Tone: chart.ToneSoft, Shape: chart.StepDashed})
	}
	return l
}

func triggerRow(t *Trigger) TriggerRow {
	row := TriggerRow{Type: t.Type, Metric: t.Metric, State: Reading, Value: chart.Absent, Pods: t.Pods, Active: t.Active, At: t.At, Error: t.Error}
	unit := unitOf(t)
	if t.Percent {
		unit = chart.Ratio
	}
	scale := 1.0
	if t.Percent {
		scale = .01
	}
	if !t.At.IsZero() {
		row.Value = unit.Text(t.Value * scale)
	}
	if t.Target > 0 {
		row.Target = unit.Text(t.Target * scale)
		if !t.Whole && !t.Percent {
			row.Target += " per pod"
		}
	}
	switch {
	case t.Fallback:
		row.State = OnFallback
	case t.Failures > 0:
		row.State = Failing
	case t.At.IsZero():
		row.State = Unread
	case t.Pushing:
		row.State = Pushed
	}
	return row
}

func workloadStats(w Workload, p WorkloadPage) []chart.Stat {
	out := []chart.Stat{
		{ID: "s-ready", Title: "Pods ready", Value: chart.Number(p.Ready), Note: fmt.Sprintf("between %d and %d", w.Min, w.Max)},
		{ID: "s-desired", Title: "Should have", Value: chart.Number(w.Replicas)},
		{ID: "s-wanted", Title: "Demand asks for", Value: chart.Number(w.Wanted)},
	}
	if p.Known {
		out = append(out, chart.Stat{ID: "s-cpu", Title: "CPU used", Unit: chart.Ratio, Value: chart.Number(p.CPU.Part()), Note: p.CPU.Text()})
	}
	for _, s := range p.Scaleups {
		if !s.Running && !s.GivenUp {
			out = append(out, chart.Stat{ID: "s-last", Title: "Last scale-up", Unit: chart.Seconds, Value: chart.Number(s.Waterfall.Total().Seconds()), Note: s.Change})
			break
		}
	}
	return out
}

func hoursOf(f Facts, w Workload) []HoursPart {
	out := []HoursPart{}
	for i, h := range f.Hours {
		if h.Namespace != w.Namespace || h.Name != w.Name && h.Name != w.Workload.Name {
			continue
		}
		part := HoursPart{HoursRow: hoursRow(h)}
		if len(h.Up) > 0 {
			part.Week = weekOf(fmt.Sprintf("week-%d", i), h, f.Now)
		}
		out = append(out, part)
	}
	return out
}

func weekOf(id string, h Hours, now time.Time) *chart.Week {
	w := &chart.Week{ID: id, Title: "Office hours", Zone: h.Zone}
	if zone, err := time.LoadLocation(h.Zone); err == nil {
		w.Now = now.In(zone)
	}
	for _, p := range h.Up {
		w.Spans = append(w.Spans, chart.Period{Day: p.Day, From: p.From, To: p.To, Name: "up", Tone: chart.ToneOK})
	}
	return w
}
