package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// Heat shows how values are spread, over time: a column per time, a row per bucket, darker where there are more.
type Heat struct {
	ID    string        `json:"-"`
	Title string        `json:"title"`
	Unit  Unit          `json:"unit,omitempty"`
	Start time.Time     `json:"start"`
	Step  time.Duration `json:"stepNanoseconds"`
	Live  bool          `json:"-"`
	// Quiet is what it has not had when values stop coming for a good reason; see Lines.
	Quiet string `json:"-"`
	// Bounds are the upper bounds of the buckets, growing; a last bucket takes what is above.
	Bounds []float64 `json:"bounds"`
	// Columns hold how many values fell into each bucket: len(Bounds)+1 numbers, or nil for a time without an
	// observation.
	Columns [][]uint64 `json:"columns"`
	Empty   string     `json:"-"`
}

// heats is how many shades there are.
const heats = 8

// HTML draws the map. Rows nothing fell into, at both ends, are left out.
func (h Heat) HTML() template.HTML {
	m := &markup{}
	low, high, most := h.extent()
	m.add(`<figure class="chart heat"`)
	m.attr("id", h.ID)
	if most == 0 {
		m.add(`><figcaption class="chart-head"><span class="chart-title">`)
		m.text(h.Title)
		m.add(`</span></figcaption><p class="chart-empty">`)
		m.text(cmpOr(h.Empty, "No values yet."))
		m.add("</p></figure>")
		return m.html()
	}
	l := h.quantiles()
	m.attr("data-chart", h.Title)
	m.attr("data-unit", string(h.Unit))
	m.attr("data-start", strconv.FormatInt(h.Start.UnixMilli(), 10))
	m.attr("data-step", strconv.FormatInt(h.Step.Milliseconds(), 10))
	m.attr("data-count", strconv.Itoa(len(h.Columns)))
	m.attr("data-columns", "true")
	m.add(">")
	l.head(m)
	m.add(`<div class="chart-body">`)
	h.rows(m, low, high)
	m.add(`<div class="plot"><svg class="plot-area"`)
	m.labelled(h.ID)
	m.add(">")
	m.title(h.ID, h.Title, l.summary())
	h.cells(m, low, high, most)
	for _, s := range l.Series {
		m.add(`<g class="series" data-name="`, s.Name, `" data-v="`, joined(s.Values), `"></g>`)
	}
	m.add(`<line class="cross" y2="100%"/></svg>`)
	l.scrub(m)
	m.add("</div>")
	drawTimes(m, l.timeTicks())
	m.add("</div>")
	m.add(`<p class="heat-key" aria-hidden="true"><span>1</span><svg viewBox="0 0 8 1" preserveAspectRatio="none">`)
	for i := range heats {
		m.addf(`<rect class="heat%d" x="%d" width="1" height="1"/>`, i, i)
	}
	m.add("</svg><span>")
	m.text(Count.Text(float64(most)))
	m.add(` per cell</span></p>`)
	l.table(m)
	m.add("</figure>")
	return m.html()
}

// extent is the range of buckets that hold something, and the most that any holds.
func (h Heat) extent() (low, high int, most uint64) {
	low, high = len(h.Bounds), 0
	for _, c := range h.Columns {
		for i, n := range c[:min(len(c), len(h.Bounds)+1)] {
			if n > 0 {
				low, high, most = min(low, i), max(high, i), max(most, n)
			}
		}
	}
	return low, high, most
}

// rows labels every few bounds.
func (h Heat) rows(m *markup, low, high int) {
	count := high - low + 1
	each := max(1, (count+5)/6)
	m.add(`<svg class="axis-y" aria-hidden="true">`)
	for i := low; i <= high && i < len(h.Bounds); i += each {
		m.add(`<text x="100%" y="`, percent(1-float64(i-low+1)/float64(count)), `">`)
		m.text(h.Unit.Text(h.Bounds[i]))
		m.add("</text>")
	}
	m.add("</svg>")
}

// cells draws one path per shade, so that a map of a thousand cells is eight elements. Shades follow the logarithm:
// one slow request among thousands of fast ones is to be seen.
func (h Heat) cells(m *markup, low, high int, most uint64) {
	var shades [heats]strings.Builder
	scale := math.Log1p(float64(most))
	for x, c := range h.Columns {
		for i, n := range c[:min(len(c), len(h.Bounds)+1)] {
			if n == 0 {
				continue
			}
			shade := min(heats-1, int(math.Log1p(float64(n))/scale*heats))
			fmt.Fprintf(&shades[shade], "M%d %dh1v1h-1z", x, high-i)
		}
	}
	m.addf(`<svg class="shapes" viewBox="0 0 %d %d" preserveAspectRatio="none" width="100%%" height="100%%" shape-rendering="crispEdges">`, max(1, len(h.Columns)), high-low+1)
	for i := range shades {
		if shades[i].Len() > 0 {
			m.addf(`<path class="heat%d" d="%s"/>`, i, shades[i].String())
		}
	}
	m.add("</svg>")
}

// quantiles are the columns in three lines, for the cross-hair and the table.
func (h Heat) quantiles() Lines {
	l := Lines{ID: h.ID, Title: h.Title, Unit: h.Unit, Start: h.Start, Step: h.Step, Live: h.Live, Empty: h.Empty, Quiet: h.Quiet}
	for _, q := range []struct {
		name string
		part float64
	}{{"p50", .5}, {"p95", .95}, {"p99", .99}} {
		s := Series{Name: q.name, Values: make(Values, len(h.Columns))}
		for i, c := range h.Columns {
			s.Values[i] = Quantile(h.Bounds, c, q.part)
		}
		l.Series = append(l.Series, s)
	}
	return l
}

// Quantile is the value that a part of the values are at or below, interpolated within its bucket as
// histogram_quantile of Prometheus does; NaN when there is no value. Of the last bucket it is the largest bound.
func Quantile(bounds []float64, counts []uint64, part float64) float64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	if total == 0 || len(bounds) == 0 {
		return math.NaN()
	}
	rank, seen := part*float64(total), 0.0
	for i, n := range counts {
		if seen+float64(n) < rank || n == 0 {
			seen += float64(n)
			continue
		}
		if i >= len(bounds) {
			break
		}
		below := 0.0
		if i > 0 {
			below = bounds[i-1]
		}
		return below + (bounds[i]-below)*(rank-seen)/float64(n)
	}
	return bounds[len(bounds)-1]
}

// Latencies are the median and the 95th and 99th percentile of histograms that follow each other: counts per bucket, with
// the upper bounds of all buckets but the last. A time without counts is a gap.
func Latencies(bounds []float64, slots [][]uint64) []Series {
	out := []Series{
		{Name: "p50", Tone: ToneA, Shape: Area}, {Name: "p95", Tone: ToneC, Shape: Dashed}, {Name: "p99", Tone: ToneB, Shape: Fine},
	}
	for n, part := range []float64{.5, .95, .99} {
		out[n].Values = make(Values, len(slots))
		for i, counts := range slots {
			out[n].Values[i] = Quantile(bounds, counts, part)
		}
	}
	return out
}
