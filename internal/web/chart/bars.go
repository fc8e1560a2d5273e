package chart

import (
	"html/template"
	"math"
)

// Stat is one number, large, with a line of where it came from.
type Stat struct {
	ID    string `json:"-"`
	Title string `json:"title"`
	Unit  Unit   `json:"unit,omitempty"`
	Value Number `json:"value"`
	Note  string `json:"note,omitempty"` // says more in a few words
	Level string `json:"-"`              // "warn" or "bad" for a value that needs a look; its icon is shown
	Spark *Spark `json:"-"`
}

// Number is a value that may not be there, in JSON null.
type Number float64

// MarshalJSON writes null for what is not there.
func (n Number) MarshalJSON() ([]byte, error) {
	b, err := Values{float64(n)}.MarshalJSON()
	return b[1 : len(b)-1], err
}

// HTML draws the number.
func (s Stat) HTML() template.HTML {
	m := &markup{}
	m.add(`<div class="stat`)
	if s.Level != "" {
		m.add(" is-", s.Level)
	}
	m.add(`"`)
	m.attr("id", s.ID)
	m.add(`><span class="stat-title">`)
	m.text(s.Title)
	m.add(`</span><span class="stat-value">`)
	if s.Level != "" {
		m.add(`<svg class="icon" aria-hidden="true"><use`)
		m.attr("href", "#i-"+s.Level)
		m.add(`/></svg>`)
	}
	number, unit := s.Unit.Parts(float64(s.Value))
	m.text(number)
	if unit != "" {
		m.add(`<small>`)
		if unit != "%" {
			m.add(" ")
		}
		m.text(unit)
		m.add("</small>")
	}
	m.add(`</span>`)
	if s.Note != "" {
		m.add(`<span class="stat-note">`)
		m.text(s.Note)
		m.add("</span>")
	}
	if s.Spark != nil {
		s.Spark.draw(m)
	}
	m.add("</div>")
	return m.html()
}

// Gauge is how much of something is used, with a mark where it should be.
type Gauge struct {
	Title string `json:"title"`
	Unit  Unit   `json:"unit,omitempty"`
	Used  Number `json:"used"`
	// Of is the whole, such as what is reserved.
	Of Number `json:"of"`
	// Goal is where Used should be; 0 for none.
	Goal  Number `json:"goal,omitempty"`
	Level string `json:"-"` // "", "ok", "warn" or "bad"
}

// Part is Used in parts of the whole, NaN when there is none.
func (g Gauge) Part() float64 {
	if !isValue(float64(g.Used)) || !(g.Of > 0) {
		return math.NaN()
	}
	return float64(g.Used / g.Of)
}

// Text is "0.21 of 0.5 cores".
func (g Gauge) Text() string {
	used, unit := g.Unit.Parts(float64(g.Used))
	of := g.Unit.Text(float64(g.Of))
	if _, whole := g.Unit.Parts(float64(g.Of)); unit != whole && unit != "" {
		used = g.Unit.Text(float64(g.Used))
	}
	return used + " of " + of
}

// HTML draws the bar. More than the whole fills it and is said in the text.
func (g Gauge) HTML() template.HTML {
	m := &markup{}
	m.add(`<svg class="gauge l-`, g.Level, `" role="img"`)
	label := g.Title + ": " + g.Text()
	if g.Goal > 0 {
		label += ", should be " + g.Unit.Text(float64(g.Goal))
	}
	m.attr("aria-label", label)
	m.add(`><rect class="of" width="100%" height="100%" rx="3"/><rect class="used" height="100%" rx="3" width="`, percent(g.Part()), `"/>`)
	if g.Goal > 0 && g.Of > 0 {
		x := percent(float64(g.Goal / g.Of))
		m.add(`<line class="goal" x1="`, x, `" x2="`, x, `" y2="100%"/>`)
	}
	m.add("</svg>")
	return m.html()
}

// Part of a Stack.
type Part struct {
	Name  string `json:"name"`
	Value Number `json:"value"`
	Tone  Tone   `json:"-"`
}

// Stack is a bar divided among parts.
type Stack struct {
	Title string `json:"title"`
	Unit  Unit   `json:"unit,omitempty"`
	Parts []Part `json:"parts"`
	// Legend lists the parts below.
	Legend bool `json:"-"`
}

// Total of the parts that have a value.
func (s Stack) Total() float64 {
	sum := 0.0
	for _, p := range s.Parts {
		if isValue(float64(p.Value)) && p.Value > 0 {
			sum += float64(p.Value)
		}
	}
	return sum
}

// HTML draws the bar.
func (s Stack) HTML() template.HTML {
	m := &markup{}
	total := s.Total()
	m.add(`<div class="stack"><svg class="stack-bar" role="img"`)
	m.attr("aria-label", s.label())
	m.add(`><rect class="of" width="100%" height="100%"/>`)
	from := 0.0
	for _, p := range s.Parts {
		if !isValue(float64(p.Value)) || p.Value <= 0 || total <= 0 {
			continue
		}
		part := float64(p.Value) / total
		m.add(`<rect class="part t-`, string(p.Tone), `" height="100%" x="`, percent(from), `" width="`, percent(part), `"/>`)
		from += part
	}
	m.add("</svg>")
	if s.Legend {
		s.list(m)
	}
	m.add("</div>")
	return m.html()
}

func (s Stack) label() string {
	label := s.Title
	for i, p := range s.Parts {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		label += sep + p.Name + " " + s.Unit.Text(float64(p.Value))
	}
	return label
}

func (s Stack) list(m *markup) {
	m.add(`<ul class="legend">`)
	for _, p := range s.Parts {
		m.add(`<li class="t-`, string(p.Tone), `"><span class="swatch"></span><span>`)
		m.text(p.Name)
		m.add("</span> <b>")
		m.text(s.Unit.Text(float64(p.Value)))
		m.add("</b></li>")
	}
	m.add("</ul>")
}

// Bars compares things by one number each.
type Bars struct {
	Title string `json:"title"`
	Unit  Unit   `json:"unit,omitempty"`
	Parts []Part `json:"parts"`
}

// HTML draws a line for each thing.
func (b Bars) HTML() template.HTML {
	m := &markup{}
	top := 0.0
	for _, p := range b.Parts {
		if isValue(float64(p.Value)) {
			top = max(top, float64(p.Value))
		}
	}
	m.add(`<dl class="bars"`)
	m.attr("aria-label", b.Title)
	m.add(">")
	for _, p := range b.Parts {
		part := 0.0
		if top > 0 {
			part = float64(p.Value) / top
		}
		m.add("<div><dt>")
		m.text(p.Name)
		m.add(`</dt><dd><svg class="gauge" aria-hidden="true"><rect class="part t-`, string(p.Tone), `" height="100%" rx="2" width="`, percent(part), `"/></svg><b>`)
		m.text(b.Unit.Text(float64(p.Value)))
		m.add("</b></dd></div>")
	}
	m.add("</dl>")
	return m.html()
}
