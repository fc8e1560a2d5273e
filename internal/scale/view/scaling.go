package view

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/timeline/draw"
	"github.com/escale-dev/escale/internal/web"
	"github.com/escale-dev/escale/internal/web/chart"
)

// Scaling is the Scaling page.
type Scaling struct {
	Query    string       `json:"-"`
	Any      bool         `json:"-"` // whether anything is scaled at all
	Notices  []web.Notice `json:"notices"`
	Total    Total        `json:"total"`
	Stats    []chart.Stat `json:"-"`
	Rows     []Row        `json:"workloads"`
	Waste    []WasteRow   `json:"waste"`
	Scaleups []ScaleupRow `json:"scaleups"`
	Hours    []HoursRow   `json:"officeHours"`
}

// Advised says that a bar shows a target.
func (s Scaling) Advised() bool {
	return slices.ContainsFunc(s.Waste, func(w WasteRow) bool { return w.Target > 0 })
}

// Title of the page.
func (Scaling) Title() string { return "Scaling" }

// Total is everything that is scaled.
type Total struct {
	Workloads int `json:"workloads"`
	Ready     int `json:"ready"`
	Desired   int `json:"desired"`
	Running   int `json:"scaleupsRunning"`
	// CPU is in cores, Memory in bytes, of all workloads whose use is known.
	CPU    chart.Gauge `json:"cpu"`
	Memory chart.Gauge `json:"memory"`
}

// Row is a workload in the list.
type Row struct {
	Object    string      `json:"object"`
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Page      string      `json:"-"`
	Target    string      `json:"workload"`
	State     web.State   `json:"state"`
	Ready     int32       `json:"ready"`
	Desired   int32       `json:"desired"`
	Wanted    int32       `json:"wanted"`
	Min       int32       `json:"min"`
	Max       int32       `json:"max"`
	Reason    string      `json:"reason"`
	Triggers  []string    `json:"triggers"`
	Spark     chart.Spark `json:"-"`
	CPU       chart.Gauge `json:"cpu"`
	Known     bool        `json:"-"` // whether its use of CPU is known
}

// WasteRow is what a workload reserves and uses.
type WasteRow struct {
	Name   string      `json:"name"`
	Page   string      `json:"-"`
	CPU    chart.Gauge `json:"cpu"`
	Memory chart.Gauge `json:"memory"`
	Target float64     `json:"advisedTarget,omitempty"`
	Advice string      `json:"advice,omitempty"`
}

// ScaleupRow is a scale-up with its stages.
type ScaleupRow struct {
	At        time.Time       `json:"at"`
	Name      string          `json:"name"`
	Change    string          `json:"change"`
	Reason    string          `json:"reason"`
	Waterfall chart.Waterfall `json:"waterfall"`
	Running   bool            `json:"running"`
	// GivenUp says that it ended before a pod was ready: what it took says nothing.
	GivenUp bool `json:"givenUp,omitempty"`
}

// HoursRow is a workload that office hours are kept for.
type HoursRow struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	State web.State `json:"state"`
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"`
	Saved string    `json:"saved,omitempty"`
	Error string    `json:"error,omitempty"`
}

// mostScaleups is how many scale-ups the page shows.
const mostScaleups = 4

// Of is the Scaling page for facts, with the workloads that a search chooses.
func Of(f Facts, query string) Scaling {
	s := Scaling{Query: query, Any: len(f.Workloads) > 0, Notices: []web.Notice{}, Rows: []Row{}, Waste: []WasteRow{}, Hours: []HoursRow{}}
	s.Total.Workloads = len(f.Workloads)
	for _, w := range f.Workloads {
		s.Total.add(w)
		s.Notices = append(s.Notices, notices(w, f.Now)...)
		row := rowOf(w, f.Now)
		if !web.Matches(query, row.Namespace, row.Name, row.Target, row.State.String(), row.Reason, strings.Join(row.Triggers, " ")) {
			continue
		}
		s.Rows = append(s.Rows, row)
		if waste, ok := wasteOf(w); ok {
			s.Waste = append(s.Waste, waste)
		}
	}
	for _, h := range f.Hours {
		if row := hoursRow(h); web.Matches(query, row.Name, row.Kind, row.State.String(), row.Text) {
			s.Hours = append(s.Hours, row)
		}
	}
	slices.SortFunc(s.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	web.Gravest(s.Notices)
	slices.SortStableFunc(s.Waste, func(a, b WasteRow) int { return cmp.Compare(unused(b.CPU), unused(a.CPU)) })
	s.Scaleups = scaleups(f)
	s.Stats = s.Total.stats()
	return s
}

func unused(g chart.Gauge) float64 { return float64(g.Of - g.Used) }

// last is the newest point; false when nothing was seen within ten seconds.
func (w Workload) last(now time.Time) (Point, bool) {
	if len(w.Past) == 0 {
		return Point{}, false
	}
	p := w.Past[len(w.Past)-1]
	return p, now.Sub(p.At) < 15*time.Second
}

func (t *Total) add(w Workload) {
	t.Running += len(w.Running)
	if len(w.Past) == 0 {
		return
	}
	p := w.Past[len(w.Past)-1]
	t.Ready += int(p.Ready)
	t.Desired += int(p.Desired)
	t.CPU.Unit, t.Memory.Unit = chart.Cores, chart.Bytes
	t.CPU.Title, t.Memory.Title = "CPU used of what is reserved", "Memory used of what is reserved"
	if !math.IsNaN(p.CPU) {
		t.CPU.Used += chart.Number(p.CPU)
		t.CPU.Of += chart.Number(p.CPUReserved)
	}
	if !math.IsNaN(p.Memory) {
		t.Memory.Used += chart.Number(p.Memory)
		t.Memory.Of += chart.Number(p.MemoryReserved)
	}
}

func (t *Total) stats() []chart.Stat {
	out := []chart.Stat{
		{ID: "s-workloads", Title: "Scaled workloads", Value: chart.Number(t.Workloads)},
		{ID: "s-pods", Title: "Pods ready", Value: chart.Number(t.Ready), Note: fmt.Sprintf("of %d wanted", t.Desired)},
		{ID: "s-running", Title: "Scale-ups under way", Value: chart.Number(t.Running)},
		{ID: "s-cpu", Title: "CPU used", Unit: chart.Ratio, Value: chart.Number(t.CPU.Part()), Note: "of " + chart.Cores.Text(float64(t.CPU.Of)) + " reserved"},
		{ID: "s-memory", Title: "Memory used", Unit: chart.Ratio, Value: chart.Number(t.Memory.Part()), Note: "of " + chart.Bytes.Text(float64(t.Memory.Of)) + " reserved"},
	}
	return out
}

// stateOf is the word for how a workload stands.
func stateOf(w Workload) web.State {
	switch {
	case w.Conflict:
		return Conflict
	case w.Problem != "":
		return Failing
	case !w.Decided:
		return Waiting
	case w.Paused:
		return Paused
	case w.Fallback:
		return OnFallback
	case w.Unread:
		return Blind
	case w.Replicas > w.From:
		return ScalingUp
	case w.Held:
		return Held
	case w.Replicas < w.From:
		return ScalingDown
	case w.Resting:
		return Resting
	case w.AtMost:
		return AtMost
	}
	return Steady
}

// reasonOf is the present reason, as a sentence.
func reasonOf(w Workload) string {
	switch {
	case w.Problem != "":
		return sentence(w.Problem)
	case !w.Decided:
		return "No decision yet: its sources have not been read, or the number of its pods is not known."
	}
	return sentence(w.Reason)
}

// sentence begins with a capital letter and ends with a point.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

func rowOf(w Workload, now time.Time) Row {
	row := Row{Object: w.Object, Namespace: w.Namespace, Name: w.Name, Page: "/scaling/" + w.ID(), Target: w.Workload.String(),
		State: stateOf(w), Min: w.Min, Max: w.Max, Wanted: w.Wanted, Reason: reasonOf(w), Triggers: []string{}}
	for _, t := range w.Triggers {
		row.Triggers = append(row.Triggers, t.Type)
	}
	row.Desired = w.Replicas
	if p, ok := w.last(now); ok {
		row.Ready = int32(p.Ready)
		if row.State == Steady && row.Ready < row.Desired {
			row.State = Starting
		}
		row.CPU, row.Known = cpuGauge(p), !math.IsNaN(p.CPU) && p.CPUReserved > 0
	}
	row.Spark = sparkOf(w, now)
	return row
}

func cpuGauge(p Point) chart.Gauge {
	return chart.Gauge{Title: "CPU used of what is reserved", Unit: chart.Cores, Used: chart.Number(p.CPU), Of: chart.Number(p.CPUReserved)}
}

// pods of the past, each five seconds.
func sparkOf(w Workload, now time.Time) chart.Spark {
	s := span{end: now, step: 5 * time.Second, count: int(Short / (5 * time.Second))}
	return chart.Spark{Title: "Ready pods in the last five minutes", Values: s.place(w.Past, func(p *Point) float64 { return p.Ready }), Tone: chart.ToneA, Steps: true, High: 2}
}

func wasteOf(w Workload) (WasteRow, bool) {
	row := WasteRow{Name: w.ID(), Page: "/scaling/" + w.ID()}
	if a := w.Advice; a != nil && a.CPU.Reserved > 0 {
		row.CPU = chart.Gauge{Title: "CPU used of what was reserved, on average", Unit: chart.Cores, Used: chart.Number(a.CPU.Mean), Of: chart.Number(a.CPU.Reserved), Goal: chart.Number(a.Target * a.CPU.Reserved)}
		row.Memory = chart.Gauge{Title: "Memory used of what was reserved, on average", Unit: chart.Bytes, Used: chart.Number(a.Memory.Mean), Of: chart.Number(a.Memory.Reserved)}
		row.Target, row.Advice = a.Target, a.Text
		return row, true
	}
	if len(w.Past) == 0 {
		return row, false
	}
	p := w.Past[len(w.Past)-1]
	if math.IsNaN(p.CPU) || p.CPUReserved <= 0 {
		return row, false
	}
	row.CPU = cpuGauge(p)
	row.Memory = chart.Gauge{Title: "Memory used of what is reserved", Unit: chart.Bytes, Used: chart.Number(p.Memory), Of: chart.Number(p.MemoryReserved)}
	return row, true
}

// lately is a stretch of time in words, to the minute.
func lately(d time.Duration) string {
	switch m := int(d.Round(time.Minute).Minutes()); {
	case m <= 1:
		return "minute"
	case m == 60:
		return "hour"
	default:
		return fmt.Sprintf("%d minutes", m)
	}
}

// Sentence says what the use until now means for the target.
func (a *Advice) Sentence(to time.Time) string {
	known := lately(to.Sub(a.Since))
	if a.Target <= 0 {
		return "Too little is known to advise a target: only the last " + known + "."
	}
	spare := a.CPU.Reserved - a.Enough
	switch {
	case spare > .01:
		return fmt.Sprintf("A target of %.0f%% CPU would have met every rise of the last %s with %s less.", 100*a.Target, known, chart.Cores.Text(spare))
	case spare < -.01:
		return fmt.Sprintf("It takes a target of %.0f%% CPU, and %s more, to meet the rises of the last %s.", 100*a.Target, chart.Cores.Text(-spare), known)
	}
	return fmt.Sprintf("What it reserves fits a target of %.0f%% CPU.", 100*a.Target)
}

// recordRow is a scale-up of the timeline.
func recordRow(i int, r timeline.Record) ScaleupRow {
	row := ScaleupRow{At: r.Time, Name: r.Object.Namespace + "/" + r.Object.Name, Change: r.From + " → " + r.To, Reason: sentence(r.Reason)}
	row.Waterfall, row.GivenUp = draw.Waterfall(fmt.Sprintf("w%d", i), r.Stages), !draw.Ready(r.Stages)
	return row
}

func runningRow(i int, w Workload, s Scaleup) ScaleupRow {
	row := ScaleupRow{At: s.At, Name: w.ID(), Change: fmt.Sprintf("%d → %d pods", s.From, s.To), Reason: sentence(s.Stands), Running: true}
	row.Waterfall = chart.Waterfall{ID: fmt.Sprintf("n%d", i), Title: "so far", Goal: draw.Goal}
	for _, stage := range s.Stages {
		row.Waterfall.Stages = append(row.Waterfall.Stages, draw.Stage(stage.Name, stage.Took, stage.Running))
	}
	return row
}

// scaleups are those under way, then the last ones.
func scaleups(f Facts) []ScaleupRow {
	out := []ScaleupRow{}
	for _, w := range f.Workloads {
		for _, s := range w.Running {
			out = append(out, runningRow(len(out), w, s))
		}
	}
	slices.SortFunc(out, func(a, b ScaleupRow) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Name, b.Name)) })
	out = out[:min(len(out), mostScaleups-1)] // one that is over is always among them
	for i := range out {
		out[i].Waterfall.ID = fmt.Sprintf("n%d", i)
	}
	for _, r := range f.Recent {
		if len(out) >= mostScaleups {
			break
		}
		if r.Action == "scaled up" && len(r.Stages) > 0 {
			out = append(out, recordRow(len(out), r))
		}
	}
	return out
}

func hoursRow(h Hours) HoursRow {
	row := HoursRow{Kind: h.Kind, Name: h.Namespace + "/" + h.Name, State: Up, Text: sentence(h.Why), Until: h.Until, Saved: h.Saved, Error: h.Error}
	if h.Down {
		row.State = Down
	}
	if h.LeftTo != "" {
		row.Text = "Left to " + h.LeftTo + "."
	}
	if h.Error != "" {
		row.State = Failing
	}
	return row
}
