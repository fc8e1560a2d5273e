package chart

import (
	"strconv"
	"time"
)

// timeTick is a place on the axis of time, as a part of one from the left.
type timeTick struct {
	at    float64
	label string
	clock time.Time // to be written in the reader's time zone; zero for a distance
}

var spans = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour,
}

// mostTimes is how many labels the axis of time has at most.
const mostTimes = 6

// timeTicks of a live chart are distances from now, which stand still while the lines move; of another one, times of
// the clock.
func (l Lines) timeTicks() []timeTick {
	whole := time.Duration(l.count()-1) * l.Step
	if whole <= 0 {
		return nil
	}
	span := whole
	for _, s := range spans {
		if whole/s < mostTimes {
			span = s
			break
		}
	}
	var out []timeTick
	if l.Live {
		for back := time.Duration(0); back <= whole; back += span {
			out = append(out, timeTick{at: 1 - float64(back)/float64(whole), label: distance(back)})
		}
		return out
	}
	layout := "15:04"
	switch {
	case span < time.Minute:
		layout = "15:04:05"
	case span >= 24*time.Hour:
		layout = "Jan 2"
	}
	for at := l.Start.Truncate(span); !at.After(l.Start.Add(whole)); at = at.Add(span) {
		if at.Before(l.Start) {
			continue
		}
		out = append(out, timeTick{at: float64(at.Sub(l.Start)) / float64(whole), label: at.UTC().Format(layout), clock: at})
	}
	return out
}

func distance(d time.Duration) string {
	switch {
	case d == 0:
		return "now"
	case d < time.Minute || d%time.Minute != 0:
		return "−" + strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour || d%time.Hour != 0:
		return "−" + strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour || d%(24*time.Hour) != 0:
		return "−" + strconv.Itoa(int(d.Hours())) + " h"
	}
	return "−" + strconv.Itoa(int(d.Hours()/24)) + " d"
}

func drawTimes(m *markup, ticks []timeTick) {
	m.add(`<svg class="axis-x" aria-hidden="true">`)
	for _, t := range ticks {
		m.add(`<text class="`, anchor(t.at), `" x="`, percent(t.at), `" y="12"`)
		if !t.clock.IsZero() {
			m.attr("data-hour", t.clock.UTC().Format(time.RFC3339))
		}
		m.add(">")
		m.text(t.label)
		m.add("</text>")
	}
	m.add("</svg>")
}

// anchor keeps the text of the first and the last tick within the axis.
func anchor(at float64) string {
	switch {
	case at < .04:
		return "at-start"
	case at > .96:
		return "at-end"
	}
	return "at-middle"
}
