// Package draw turns records of the timeline into what charts show of them: marks of what happened, and the stages of a
// scale-up as a waterfall. It reads no clock and keeps nothing.
package draw

import (
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web/chart"
)

// Goal is how long a scale-up should take until its first answer.
const Goal = 10 * time.Second

// FirstAnswer is the last stage of a scale-up.
const FirstAnswer = "first answer"

// kinds are the acts that charts show.
var kinds = map[string]chart.MarkKind{
	"scaled up": chart.ScaledUp, "brought up": chart.ScaledUp,
	"scaled down": chart.ScaledDown, "took down": chart.ScaledDown,
	"released": chart.Deployed, "rolled back": chart.Deployed,
	"stalled": chart.Trouble,
}

// Marks are the acts among records that charts show.
func Marks(records []timeline.Record) []chart.Mark {
	var out []chart.Mark
	for _, r := range records {
		kind, ok := kinds[r.Action]
		if !ok {
			continue
		}
		text := r.Action
		if r.From != "" || r.To != "" {
			text += " " + strings.Trim(r.From+" → "+r.To, " →")
		}
		out = append(out, chart.Mark{At: r.Time, Kind: kind, Text: text})
	}
	return out
}

// notes say what the stages of a scale-up end with.
var notes = map[string]string{
	"signal": "the demand was seen, until the decision", "decision": "until the API server accepted it",
	"placement": "until a node was found", "node": "until that node was there", "start": "until its containers ran",
	"ready": "until its probe passed", "routed": "until requests could be sent to it", FirstAnswer: "until it answered one",
}

// Stage is a stage of a scale-up. That of the application's own start is told apart.
func Stage(name string, took time.Duration, running bool) chart.Stage {
	return chart.Stage{Name: name, Took: took, Own: name == "start" || name == "ready", Running: running, Note: notes[name]}
}

// Waterfall is a scale-up by its stages. id is unique on the page.
func Waterfall(id string, stages []timeline.Stage) chart.Waterfall {
	w := chart.Waterfall{ID: id, Title: "until the first answer", Goal: Goal}
	for _, s := range stages {
		w.Stages = append(w.Stages, Stage(s.Name, s.Duration, false))
	}
	if n := len(stages); n > 0 && stages[n-1].Name != FirstAnswer {
		w.Title = "until " + stages[n-1].Name
	}
	if !Ready(stages) {
		w.Title += ", then given up: no pod became ready"
	}
	return w
}

// Ready says that a scale-up that is over came as far as a pod that was ready. One that did not is no fast one.
func Ready(stages []timeline.Stage) bool {
	return slices.ContainsFunc(stages, func(s timeline.Stage) bool { return s.Name == "ready" || s.Name == FirstAnswer })
}
