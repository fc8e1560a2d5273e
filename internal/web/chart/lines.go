package chart

import (
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lines are values over time: lines, areas or steps, with what happened meanwhile.
type Lines struct {
	// ID of the element; unique on a page.
	ID string `json:"-"`
	// Title names what is drawn.
	Title string `json:"title"`
	// Unit of all values.
	Unit Unit `json:"unit,omitempty"`
	// Start is the time of each first value, Step the distance to the next one.
	Start time.Time     `json:"start"`
	Step  time.Duration `json:"stepNanoseconds"`
	// Live says that the last value is the present one. Times are then written as distances from now.
	Live bool `json:"-"`
	// Series are drawn in their order, the first one at the back.
	Series []Series `json:"series"`
	// Stacked puts each series on top of those after it: the last, such as errors, are seen at the bottom however small.
	Stacked bool `json:"stacked,omitempty"`
	// Bands are drawn behind the series.
	Bands []Band `json:"bands,omitempty"`
	// Limits are levels that mean something, such as a target.
	Limits []Limit `json:"limits,omitempty"`
	// Marks are what happened.
	Marks []Mark `json:"marks,omitempty"`
	// Empty is what is said when there is no value at all: why, and what would bring some.
	Empty string `json:"-"`
	// Quiet is what a live chart has not had when values stop coming for a good reason, such as "request". Without it,
	// that is a warning.
	Quiet string `json:"-"`
}

// Series are the values of one name.
type Series struct {
	Name   string `json:"name"`
	Values Values `json:"values"`
	Tone   Tone   `json:"-"`
	Shape  Shape  `json:"-"`
}

// Tone is a colour of the style sheet, by meaning.
type Tone string

// The tones: six to tell series apart, and those that mean something.
const (
	ToneA    Tone = "a"
	ToneB    Tone = "b"
	ToneC    Tone = "c"
	ToneD    Tone = "d"
	ToneE    Tone = "e"
	ToneF    Tone = "f"
	ToneOK   Tone = "ok"
	ToneWarn Tone = "warn"
	ToneBad  Tone = "bad"
	ToneSoft Tone = "soft"
)

// Tones are those that tell series apart, in the order to take them.
var Tones = []Tone{ToneA, ToneB, ToneC, ToneD, ToneE, ToneF}

// Shape is how a series is drawn.
type Shape string

// The shapes. Dashed lines and steps tell two series apart where colours cannot.
const (
	Line       Shape = ""
	Dashed     Shape = "dashed"
	Dotted     Shape = "dotted"
	Fine       Shape = "thin"
	Area       Shape = "area"
	Step       Shape = "step"
	StepDashed Shape = "step dashed"
	StepArea   Shape = "step area"
)

func (s Shape) has(word string) bool { return strings.Contains(string(s), word) }

// Band is the room between two values, such as the smallest and the largest.
type Band struct {
	Name string `json:"name"`
	Low  Values `json:"low"`
	High Values `json:"high"`
	Tone Tone   `json:"-"`
}

// Limit is a level.
type Limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Tone  Tone    `json:"-"`
}

// Mark is something that happened at one time.
type Mark struct {
	At   time.Time `json:"at"`
	Kind MarkKind  `json:"kind"`
	// Text says what happened.
	Text string `json:"text"`
}

// MarkKind is what a mark looks like.
type MarkKind string

// The kinds of marks.
const (
	// Deployed: a new revision. A diamond.
	Deployed MarkKind = "deployed"
	// ScaledUp and ScaledDown: triangles that point there.
	ScaledUp   MarkKind = "up"
	ScaledDown MarkKind = "down"
	// Trouble: a cross.
	Trouble MarkKind = "trouble"
	// Noted: a disc, for everything else.
	Noted MarkKind = "noted"
)

// mostMarks is how many marks are drawn, the newest ones.
const mostMarks = 40

// count is how many points the longest series has.
func (l Lines) count() int {
	n := 0
	for _, s := range l.Series {
		n = max(n, len(s.Values))
	}
	for _, b := range l.Bands {
		n = max(n, len(b.Low), len(b.High))
	}
	return n
}

// at is the time of a point.
func (l Lines) at(i int) time.Time { return l.Start.Add(time.Duration(i) * l.Step) }

// newest is the index of the last point that has a value, -1 when there is none.
func (l Lines) newest() int {
	newest := -1
	for _, s := range l.Series {
		_, i := s.Values.Last()
		newest = max(newest, i)
	}
	return newest
}

// patience is how many points may be missing at the end of a live chart before it is said.
const patience = 3

// age is for how long a live chart has had no value; zero when it has.
func (l Lines) age() time.Duration {
	missing := l.count() - 1 - l.newest()
	if !l.Live || missing <= patience {
		return 0
	}
	return time.Duration(missing) * l.Step
}

// stack returns the series as they are drawn: on top of each other when stacked.
func (l Lines) stack() []Values {
	out := make([]Values, len(l.Series))
	base := make(Values, l.count())
	for i, s := range slices.Backward(l.Series) {
		out[i] = s.Values
		if !l.Stacked {
			continue
		}
		out[i] = make(Values, len(s.Values))
		for j, v := range s.Values {
			out[i][j] = math.NaN()
			if isValue(v) {
				base[j] += v
				out[i][j] = base[j]
			}
		}
	}
	return out
}

// axis spans everything that is drawn.
func (l Lines) axis(stacked []Values) axis {
	low, high := 0.0, 0.0
	see := func(v float64) {
		if isValue(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	for _, v := range stacked {
		see(v.Min())
		see(v.Max())
	}
	for _, b := range l.Bands {
		see(b.Low.Min())
		see(b.High.Max())
	}
	for _, limit := range l.Limits {
		see(limit.Value)
	}
	return newAxis(l.Unit, low, high)
}

// HTML draws the chart.
func (l Lines) HTML() template.HTML {
	m := &markup{}
	m.add(`<figure class="chart lines`)
	if l.age() > 0 {
		m.add(" is-old")
	}
	m.add(`"`)
	m.attr("id", l.ID)
	if l.newest() < 0 {
		m.add(">")
		l.head(m)
		m.add(`<p class="chart-empty">`)
		m.text(cmpOr(l.Empty, "No values yet."))
		m.add("</p></figure>")
		return m.html()
	}
	m.attr("data-chart", l.Title)
	m.attr("data-unit", string(l.Unit))
	m.attr("data-start", strconv.FormatInt(l.Start.UnixMilli(), 10))
	m.attr("data-step", strconv.FormatInt(l.Step.Milliseconds(), 10))
	m.attr("data-count", strconv.Itoa(l.count()))
	if l.Stacked {
		m.add(" data-stacked")
	}
	m.add(">")
	l.head(m)
	l.body(m)
	l.legend(m)
	l.table(m)
	m.add("</figure>")
	return m.html()
}

func cmpOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func (l Lines) head(m *markup) {
	m.add(`<figcaption class="chart-head"><span class="chart-title">`)
	m.text(l.Title)
	m.add("</span>")
	switch l.Unit {
	case Count, Seconds, Bytes, Ratio:
	default:
		m.add(` <span class="chart-unit">`)
		m.text(string(l.Unit))
		m.add("</span>")
	}
	if age := l.age(); age > 0 && l.newest() >= 0 {
		l.old(m, Seconds.Text(age.Seconds()))
	}
	m.add("</figcaption>")
}

// old says for how long there has been no value.
func (l Lines) old(m *markup, age string) {
	if l.Quiet == "" {
		m.add(`<span class="chart-old"><svg class="icon" aria-hidden="true"><use href="#i-warn"/></svg>No value for `, age, "</span>")
		return
	}
	m.add(`<span class="chart-old is-quiet">`)
	m.text("No " + l.Quiet + " for " + age)
	m.add("</span>")
}

// present is the value of a series that its legend names: the newest one, and none in a live chart without new ones.
func (l Lines) present(s Series) float64 {
	if l.age() > 0 {
		return math.NaN()
	}
	v, _ := s.Values.Last()
	return v
}

func (l Lines) body(m *markup) {
	stacked := l.stack()
	a := l.axis(stacked)
	m.add(`<div class="chart-body">`)
	a.draw(m)
	m.add(`<div class="plot"><svg class="plot-area"`)
	m.labelled(l.ID)
	m.attr("data-low", short(a.low))
	m.attr("data-high", short(a.high))
	m.add(">")
	m.title(l.ID, l.Title, l.summary())
	for _, t := range a.ticks {
		y := percent(float64(a.place(t)) / 1000)
		m.add(`<line class="grid`, zero(t), `" x2="100%" y1="`, y, `" y2="`, y, `"/>`)
	}
	ticks := l.timeTicks()
	for _, t := range ticks {
		x := percent(t.at)
		m.add(`<line class="grid" y2="100%" x1="`, x, `" x2="`, x, `"/>`)
	}
	l.shapes(m, a, stacked)
	l.limits(m, a)
	l.marks(m)
	m.add(`<line class="cross" y2="100%"/>`)
	for _, s := range l.Series {
		m.add(`<circle class="dot t-`, string(s.Tone), `" r="3.5"/>`)
	}
	m.add("</svg>")
	l.scrub(m)
	m.add("</div>")
	drawTimes(m, ticks)
	m.add("</div>")
}

func zero(tick float64) string {
	if tick == 0 {
		return " zero"
	}
	return ""
}

// scrub is what the pointer and the keyboard hold on to: a slider over the points.
func (l Lines) scrub(m *markup) {
	last := l.count() - 1
	m.add(`<div class="scrub" role="slider" tabindex="0" aria-valuemin="0" aria-valuemax="`, strconv.Itoa(last),
		`" aria-valuenow="`, strconv.Itoa(last), `"`)
	m.attr("aria-label", l.Title+", values over time")
	m.attr("aria-valuetext", l.summary())
	m.add("></div>")
}

// summary says the newest values in words.
func (l Lines) summary() string {
	var parts []string
	for _, s := range l.Series {
		if v, _ := s.Values.Last(); isValue(v) {
			parts = append(parts, s.Name+" "+l.Unit.Text(v)+", at most "+l.Unit.Text(s.Values.Max()))
		}
	}
	for _, limit := range l.Limits {
		parts = append(parts, limit.Name+" "+l.Unit.Text(limit.Value))
	}
	if age := l.age(); age > 0 {
		parts = append(parts, "no value for "+Seconds.Text(age.Seconds()))
	}
	return strings.Join(parts, "; ") + "."
}

func (a axis) draw(m *markup) {
	m.add(`<svg class="axis-y" aria-hidden="true">`)
	for _, t := range a.ticks {
		m.add(`<text x="100%" y="`, percent(float64(a.place(t))/1000), `">`)
		m.text(a.label(t))
		m.add("</text>")
	}
	m.add("</svg>")
}

// shapes draws bands and series in a coordinate system of one unit per point and 1000 per height.
func (l Lines) shapes(m *markup, a axis, stacked []Values) {
	p := pen{axis: a, count: l.count()}
	m.add(`<svg class="shapes" viewBox="0 0 `, strconv.Itoa(p.width()), ` 1000" preserveAspectRatio="none" width="100%" height="100%">`)
	for _, b := range l.Bands {
		m.add(`<path class="band t-`, string(b.Tone), `" d="`, p.between(b.Low, b.High, false), `"/>`)
	}
	for i, s := range l.Series {
		m.add(`<g class="series t-`, string(s.Tone), ` `, string(s.Shape), `"`)
		m.attr("data-name", s.Name)
		m.attr("data-v", joined(s.Values))
		m.add(">")
		var below Values
		if l.Stacked && i+1 < len(stacked) {
			below = stacked[i+1]
		}
		if s.Shape.has("area") || l.Stacked {
			m.add(`<path class="fill" d="`, p.between(below, stacked[i], s.Shape.has("step")), `"/>`)
		}
		m.add(`<path class="stroke" d="`, p.along(l.seen(stacked[i], s.Values), s.Shape.has("step")), `"/></g>`)
	}
	m.add("</svg>")
}

// seen are the drawn values of a series of which there is something: a line of nothing on top of a stack would look like
// a lot of it.
func (l Lines) seen(drawn, own Values) Values {
	if !l.Stacked {
		return drawn
	}
	out := make(Values, len(drawn))
	for i := range out {
		out[i] = drawn[i]
		if own[i] == 0 && (i == 0 || own[i-1] == 0) && (i+1 >= len(own) || own[i+1] == 0) {
			out[i] = math.NaN()
		}
	}
	return out
}

func joined(v Values) string {
	texts := make([]string, len(v))
	for i, f := range v {
		texts[i] = short(f)
	}
	return strings.Join(texts, ",")
}

func (l Lines) limits(m *markup, a axis) {
	for _, limit := range l.Limits {
		if !isValue(limit.Value) {
			continue
		}
		y := percent(float64(a.place(limit.Value)) / 1000)
		m.add(`<g class="limit t-`, string(limit.Tone), `"><line x2="100%" y1="`, y, `" y2="`, y, `"/><text x="100%" dx="-4" dy="-4" y="`, y, `">`)
		m.text(limit.Name)
		m.add("</text></g>")
	}
}

var markShapes = map[MarkKind]string{
	Deployed:   "M0 1l5 5-5 5-5-5z",
	ScaledUp:   "M0 2l5 8h-10z",
	ScaledDown: "M0 10l5-8h-10z",
	Trouble:    "M-4 2l8 8m0-8l-8 8",
	Noted:      "M-4 6a4 4 0 1 0 8 0 4 4 0 1 0-8 0z",
}

// shown are the marks within the time of the chart, oldest first.
func (l Lines) shown() []Mark {
	end := l.at(max(0, l.count()-1))
	var out []Mark
	for _, k := range l.Marks {
		if !k.At.Before(l.Start) && !k.At.After(end) {
			out = append(out, k)
		}
	}
	slices.SortStableFunc(out, func(a, b Mark) int { return a.At.Compare(b.At) })
	out = together(out, end.Sub(l.Start)/60)
	return out[max(0, len(out)-mostMarks):]
}

// together makes one mark of those of a kind that would lie on each other; the last one's text counts.
func together(marks []Mark, near time.Duration) []Mark {
	var out []Mark
	many := 1
	for _, k := range marks {
		n := len(out) - 1
		if n < 0 || out[n].Kind != k.Kind || k.At.Sub(out[n].At) > near {
			out, many = append(out, k), 1
			continue
		}
		many++
		out[n].Text = k.Text + " (and " + strconv.Itoa(many-1) + " more)"
	}
	return out
}

func (l Lines) marks(m *markup) {
	span := l.at(l.count() - 1).Sub(l.Start)
	for _, k := range l.shown() {
		x := percent(1)
		if span > 0 {
			x = percent(float64(k.At.Sub(l.Start)) / float64(span))
		}
		m.add(`<g class="moment m-`, string(k.Kind), `" data-at="`, strconv.FormatInt(k.At.UnixMilli(), 10), `"`)
		m.attr("data-text", k.Text)
		m.add(`><line y2="100%" x1="`, x, `" x2="`, x, `"/><svg class="glyph" x="`, x, `"><path d="`, markShapes[k.Kind], `"/></svg></g>`)
	}
}

func (l Lines) legend(m *markup) {
	m.add(`<ul class="legend">`)
	for _, s := range l.Series {
		m.add(`<li class="series t-`, string(s.Tone), ` `, string(s.Shape), `">`, swatch, `<span>`)
		m.text(s.Name)
		m.add(`</span> <b>`)
		m.text(l.Unit.Text(l.present(s)))
		m.add(`</b> <span class="most">max `)
		m.text(l.Unit.Text(s.Values.Max()))
		m.add("</span></li>")
	}
	seen := map[MarkKind]bool{}
	for _, k := range l.shown() {
		if !seen[k.Kind] {
			seen[k.Kind] = true
			m.add(`<li class="moment m-`, string(k.Kind), `"><svg class="swatch-line" viewBox="-8 0 16 12" aria-hidden="true"><path d="`, markShapes[k.Kind], `"/></svg><span>`, markWords[k.Kind], "</span></li>")
		}
	}
	m.add("</ul>")
}

const swatch = `<svg class="swatch-line" viewBox="0 0 16 12" aria-hidden="true"><path class="fill" d="M0 6h16v6H0z"/><path class="stroke" d="M0 6h16"/></svg>`

var markWords = map[MarkKind]string{
	Deployed: "deployed", ScaledUp: "scaled up", ScaledDown: "scaled down", Trouble: "trouble", Noted: "event",
}
