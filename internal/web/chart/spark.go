package chart

import (
	"html/template"
	"strconv"
)

// Spark is a line of values without axes, to stand in a row of a list.
type Spark struct {
	// Title names what is drawn, for those who do not see it.
	Title  string `json:"title"`
	Unit   Unit   `json:"unit,omitempty"`
	Values Values `json:"values"`
	Tone   Tone   `json:"-"`
	// Over are values drawn over the first ones, such as the errors among requests.
	Over     Values `json:"over,omitempty"`
	OverTone Tone   `json:"-"`
	// Steps draws whole numbers, such as replicas.
	Steps bool `json:"-"`
	// High is the least top, so that two lines can be compared; 0 takes the unit's.
	High float64 `json:"-"`
}

// HTML draws the line.
func (s Spark) HTML() template.HTML {
	m := &markup{}
	s.draw(m)
	return m.html()
}

// label says what the line shows.
func (s Spark) label() string {
	v, _ := s.Values.Last()
	if !isValue(v) {
		return s.Title + ": no values"
	}
	return s.Title + ": now " + s.Unit.Text(v) + ", between " + s.Unit.Text(s.Values.Min()) + " and " + s.Unit.Text(s.Values.Max())
}

// strokes is one set of values of a Spark.
func (s Spark) strokes(m *markup, p pen, v Values, tone Tone) {
	m.add(`<g class="series t-`, string(tone), `"><path class="fill" d="`, p.between(nil, v, s.Steps), `"/><path class="stroke" d="`, p.along(v, s.Steps), `"/></g>`)
}

func (s Spark) draw(m *markup) {
	top := max(s.High, s.Unit.least())
	low := 0.0
	for _, v := range []Values{s.Values, s.Over} {
		if v.Max() > top {
			top = v.Max()
		}
		if v.Min() < low {
			low = v.Min()
		}
	}
	p := pen{axis: axis{low: low, high: top}, count: max(len(s.Values), len(s.Over))}
	m.add(`<svg class="spark" role="img" preserveAspectRatio="none" viewBox="0 -40 `, strconv.Itoa(p.width()), ` 1080"`)
	m.attr("aria-label", s.label())
	m.add(">")
	s.strokes(m, p, s.Values, s.Tone)
	if s.Over.Max() > 0 {
		s.strokes(m, p, s.Over, s.OverTone)
	}
	m.add("</svg>")
}
