package chart

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// Week is what applies at which hour of a week, such as the hours in which something runs.
type Week struct {
	ID    string `json:"-"`
	Title string `json:"title"`
	// Zone is the name of the time zone the hours are in.
	Zone  string   `json:"zone"`
	Spans []Period `json:"spans"`
	// Now is where the week is, in that zone; zero to leave it out.
	Now time.Time `json:"now,omitzero"`
}

// Period is a part of one day.
type Period struct {
	Day time.Weekday `json:"day"`
	// From and To are the time of the day, at most 24 h.
	From time.Duration `json:"fromNanoseconds"`
	To   time.Duration `json:"toNanoseconds"`
	// Name says what applies.
	Name string `json:"name"`
	Tone Tone   `json:"-"`
}

// days of a week as it is drawn.
var days = []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday, time.Sunday}

const day = 24 * time.Hour

// HTML draws a line for each day.
func (w Week) HTML() template.HTML {
	m := &markup{}
	m.add(`<figure class="chart week"`)
	m.attr("id", w.ID)
	m.add(`><figcaption class="chart-head"><span class="chart-title">`)
	m.text(w.Title)
	m.add(`</span> <span class="chart-unit">`)
	m.text(w.Zone)
	m.add("</span></figcaption><ol>")
	for _, d := range days {
		w.day(m, d)
	}
	m.add(`</ol><svg class="axis-x" aria-hidden="true">`)
	for h := 0; h <= 24; h += 6 {
		at := float64(h) / 24
		m.add(`<text class="`, anchor(at), `" x="`, percent(at), `" y="12">`, fmt.Sprintf("%02d:00", h), "</text>")
	}
	m.add("</svg></figure>")
	return m.html()
}

// of are the periods of one day in order, without those that are empty.
func (w Week) of(d time.Weekday) []Period {
	var out []Period
	for _, s := range w.Spans {
		if s.Day == d && s.From >= 0 && s.To > s.From && s.From < day {
			s.To = min(s.To, day)
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Period) int { return cmp.Compare(a.From, b.From) })
	return out
}

func (w Week) day(m *markup, d time.Weekday) {
	spans := w.of(d)
	today := !w.Now.IsZero() && w.Now.Weekday() == d
	m.add("<li")
	if today {
		m.add(` class="today"`)
	}
	m.add(">", d.String()[:3], `<svg class="day" role="img"`)
	m.attr("aria-label", d.String()+": "+words(spans))
	m.add(`><rect class="of" width="100%" height="100%" rx="3"/>`)
	for _, s := range spans {
		m.add(`<rect class="part t-`, string(s.Tone), `" height="100%" rx="3" x="`, percent(float64(s.From)/float64(day)),
			`" width="`, percent(float64(s.To-s.From)/float64(day)), `"/>`)
	}
	if today {
		at := time.Duration(w.Now.Hour())*time.Hour + time.Duration(w.Now.Minute())*time.Minute
		x := percent(float64(at) / float64(day))
		m.add(`<line class="goal" x1="`, x, `" x2="`, x, `" y1="-20%" y2="120%"/>`)
	}
	m.add("</svg></li>")
}

func words(spans []Period) string {
	if len(spans) == 0 {
		return "nothing"
	}
	texts := make([]string, len(spans))
	for i, s := range spans {
		texts[i] = s.Name + " " + clock(s.From) + " to " + clock(s.To)
	}
	return strings.Join(texts, ", ")
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}
