package chart

import (
	"html/template"
	"time"
)

// Waterfall is an act in stages that follow each other, each with the time it took.
type Waterfall struct {
	ID     string  `json:"-"`
	Title  string  `json:"title"`
	Stages []Stage `json:"stages"`
	// Goal is how long all of it should take; 0 for none. The bar is as wide as the longer of the two.
	Goal time.Duration `json:"goalNanoseconds,omitempty"`
}

// Stage is one step.
type Stage struct {
	Name string        `json:"name"`
	Took time.Duration `json:"tookNanoseconds"`
	// Note says what happens in it.
	Note string `json:"note,omitempty"`
	// Own says that the time is the application's own, not the platform's.
	Own bool `json:"own,omitempty"`
	// Running says that it has not ended; Took is then the time so far.
	Running bool `json:"running,omitempty"`
}

// Total time of the stages.
func (w Waterfall) Total() time.Duration { return w.sum(func(Stage) bool { return true }) }

// Own is the time that is the application's.
func (w Waterfall) Own() time.Duration { return w.sum(func(s Stage) bool { return s.Own }) }

func (w Waterfall) sum(of func(Stage) bool) time.Duration {
	var sum time.Duration
	for _, s := range w.Stages {
		if of(s) {
			sum += max(0, s.Took)
		}
	}
	return sum
}

// HTML draws a line per stage, each where it lies in time.
func (w Waterfall) HTML() template.HTML {
	m := &markup{}
	total := w.Total()
	whole := max(total, w.Goal)
	m.add(`<div class="waterfall"`)
	m.attr("id", w.ID)
	m.add(`><p class="waterfall-head"><span><b>`)
	m.text(Seconds.Text(total.Seconds()))
	m.add("</b> ")
	m.text(w.Title)
	if own := w.Own(); own > 0 {
		m.add(`<span class="mute"> · `)
		m.text(Seconds.Text(own.Seconds()) + " of it the application's own")
		m.add("</span>")
	}
	m.add("</span>")
	if w.Goal > 0 {
		m.add(`<span class="mute goal-text">goal `)
		m.text(Seconds.Text(w.Goal.Seconds()))
		m.add("</span>")
	}
	m.add("</p><ol>")
	var from time.Duration
	for _, s := range w.Stages {
		w.stage(m, s, from, whole)
		from += max(0, s.Took)
	}
	m.add("</ol></div>")
	return m.html()
}

// leastPart is how wide a stage is at least, so that it can be seen.
const leastPart = .004

func (w Waterfall) stage(m *markup, s Stage, from, whole time.Duration) {
	class := "platform"
	switch {
	case s.Running:
		class = "running"
	case s.Own:
		class = "own"
	}
	m.add(`<li class="`, class, `"><span class="stage-name"`)
	if s.Note != "" {
		m.attr("title", s.Note)
	}
	m.add(">")
	m.text(s.Name)
	m.add(`</span><svg class="stage-bar" aria-hidden="true"><line class="track" x2="100%" y1="50%" y2="50%"/>`)
	if whole > 0 {
		part := max(leastPart, float64(max(0, s.Took))/float64(whole))
		at := min(float64(from)/float64(whole), 1-part)
		m.add(`<rect height="100%" rx="2" x="`, percent(at), `" width="`, percent(part), `"/>`)
		if w.Goal > 0 {
			x := percent(float64(w.Goal) / float64(whole))
			m.add(`<line class="goal" x1="`, x, `" x2="`, x, `" y1="-50%" y2="150%"/>`)
		}
	}
	m.add(`</svg><span class="stage-took">`)
	if s.Running {
		m.add(`<span class="hidden">so far </span>`)
	}
	m.text(Seconds.Text(s.Took.Seconds()))
	if s.Running {
		m.add("…")
	}
	m.add("</span></li>")
}
