package portal

import (
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

// recordRow is a record of the timeline as a page shows it.
type recordRow struct {
	timeline.Record
	ID    string        `json:"id"`
	Page  string        `json:"page,omitempty"`
	Parts []stagePart   `json:"-"`
	Total time.Duration `json:"totalNanoseconds,omitempty"`
}

// stagePart is a stage as a part of a bar of 1000 units.
type stagePart struct {
	timeline.Stage
	From, Width int
	Shade       int
}

// shades is how many shades of the bar's colour there are.
const shades = 4

func recordRows(records []timeline.Record) []recordRow {
	rows := make([]recordRow, 0, len(records))
	same := map[int64]int{}
	for _, r := range slices.Backward(records) { // oldest first, so that a row keeps its id when others come
		at := r.Time.UnixNano()
		same[at]++
		row := recordRow{Record: r, ID: fmt.Sprintf("r%x-%d", at, same[at]), Total: r.Total(), Parts: parts(r)}
		if r.Object.Kind == "App" {
			row.Page = "/apps/" + r.Object.Namespace + "/" + r.Object.Name
		}
		rows = append(rows, row)
	}
	slices.Reverse(rows)
	return rows
}

// parts divides the bar among the stages. Each gets at least as much as can be seen.
func parts(r timeline.Record) []stagePart {
	total := r.Total()
	if total <= 0 {
		return nil
	}
	const least = 8
	out := make([]stagePart, len(r.Stages))
	room := 1000 - least*len(r.Stages)
	from := 0
	for i, s := range r.Stages {
		width := least + int(float64(max(0, s.Duration))/float64(total)*float64(max(0, room)))
		out[i] = stagePart{Stage: s, From: from, Width: width - 2, Shade: i % shades}
		from += width
	}
	return out
}

// timelinePage is the timeline with a search.
type timelinePage struct {
	Query     string      `json:"-"`
	Kind      string      `json:"-"`
	Namespace string      `json:"-"`
	Within    string      `json:"-"`
	Kinds     []string    `json:"-"`
	Spaces    []string    `json:"-"`
	Withins   []within    `json:"-"`
	Any       bool        `json:"-"` // whether there are records at all
	More      bool        `json:"more"`
	Records   []recordRow `json:"records"`
}

// Title of the page.
func (timelinePage) Title() string { return "Timeline" }

// within is how far back a person may look.
type within struct {
	Key, Text string
	For       time.Duration
}

var withins = []within{
	{"", "Any time", 0}, {"15m", "Last 15 minutes", 15 * time.Minute}, {"1h", "Last hour", time.Hour},
	{"24h", "Last 24 hours", 24 * time.Hour},
}

// timelineQuestion is what the form of the page asks.
type timelineQuestion struct {
	query, kind, namespace, within string
}

// mostRecords is how many records the page shows.
const mostRecords = 200

// timelineOf answers a question with the newest records that match.
func timelineOf(all []timeline.Record, q timelineQuestion, now time.Time) timelinePage {
	v := timelinePage{
		Query: q.query, Kind: q.kind, Namespace: q.namespace, Within: q.within, Withins: withins, Any: len(all) > 0,
		Kinds: []string{q.kind}, Spaces: []string{q.namespace},
	}
	filter := timeline.Filter{Namespace: q.namespace, Kind: q.kind, Since: since(q.within, now)}
	var chosen []timeline.Record
	for _, r := range all {
		v.Kinds = append(v.Kinds, r.Object.Kind)
		v.Spaces = append(v.Spaces, r.Object.Namespace)
		if filter.Match(r) && web.Matches(q.query, r.Actor, r.Action, r.Object.String(), r.From, r.To, r.Reason) {
			chosen = append(chosen, r)
		}
	}
	v.Kinds, v.Spaces = choices(v.Kinds), choices(v.Spaces)
	v.More = len(chosen) > mostRecords
	v.Records = recordRows(chosen[:min(mostRecords, len(chosen))])
	return v
}

func since(key string, now time.Time) time.Time {
	for _, w := range withins {
		if w.Key == key && w.For > 0 {
			return now.Add(-w.For)
		}
	}
	return time.Time{}
}

// choices are the distinct values, sorted, without the empty one.
func choices(values []string) []string {
	slices.Sort(values)
	values = slices.Compact(values)
	return slices.DeleteFunc(values, func(s string) bool { return s == "" })
}
