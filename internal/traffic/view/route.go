package view

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/web"
	"github.com/escale-dev/escale/internal/web/chart"
)

// RoutePage is the page of one route.
type RoutePage struct {
	RouteRow
	Created  time.Time     `json:"created"`
	Stats    []chart.Stat  `json:"-"`
	Notices  []web.Notice  `json:"notices"`
	Requests chart.Lines   `json:"requests"`
	Latency  chart.Lines   `json:"latency"`
	Spread   chart.Heat    `json:"latencySpread"`
	Flight   chart.Lines   `json:"inFlightOverTime"`
	Failures chart.Bars    `json:"failures"`
	Rules    []Rule        `json:"rules"`
	Backends []BackendPart `json:"backends"`
	Parents  []ParentRow   `json:"parents"`
}

// Title of the page.
func (p RoutePage) Title() string { return p.Namespace + "/" + p.Name }

// BackendPart is a backend with its endpoints.
type BackendPart struct {
	BackendRow
	Endpoints []EndpointRow `json:"endpoints"`
}

// EndpointRow is a pod of a backend.
type EndpointRow struct {
	Address  string    `json:"address"`
	State    web.State `json:"state"`
	InFlight int64     `json:"inFlight"`
	Failed   int       `json:"failedInARow"`
	// Back is when an ejected one gets requests again.
	Back time.Time `json:"back,omitzero"`
}

// ParentRow is what a route is attached to.
type ParentRow struct {
	Name       string             `json:"name"`
	Conditions []metav1.Condition `json:"conditions"`
	State      web.State          `json:"state"`
	Problem    string             `json:"problem,omitempty"`
}

// RouteOf is the page of a route; false when there is none of that name.
func RouteOf(f Facts, namespace, name string) (RoutePage, bool) {
	i := slices.IndexFunc(f.Routes, func(r Route) bool { return r.Namespace == namespace && r.Name == name })
	if i < 0 {
		return RoutePage{}, false
	}
	r := f.Routes[i]
	p, b := f.History.Of(r.ID(), f.Now), f.History.brief(r.ID(), f.Now)
	mine := backendsOf(r, f.Backends)
	page := RoutePage{
		RouteRow: routeRow(r, b), Created: r.Created, Rules: r.Rules,
		Requests: requestLines("requests", p), Latency: latencyLines("latency", p), Spread: spreadOf(p), Flight: flightLines(p),
		Failures: chart.Bars{Title: "Errors by kind in the last five minutes", Parts: failureParts(f.History.Kinds, p.Failures)},
		Notices:  routeNotices(r, b.numbers, f.History), Backends: []BackendPart{}, Parents: []ParentRow{},
	}
	page.Stats = stats(b, mine)
	for _, b := range mine {
		page.Notices = append(page.Notices, backendNotices(b, f.Now)...)
		page.Backends = append(page.Backends, backendPart(b, f))
	}
	for _, parent := range r.Parents {
		row := ParentRow{Name: parent.Name, Conditions: parent.Conditions}
		row.State, row.Problem = routeState(Route{Parents: []Parent{parent}})
		page.Parents = append(page.Parents, row)
	}
	return page, true
}

// backendsOf are the backends that a route sends requests to.
func backendsOf(r Route, all []Backend) []Backend {
	var out []Backend
	for _, b := range all {
		if slices.ContainsFunc(r.Rules, func(rule Rule) bool {
			return slices.ContainsFunc(rule.Targets, func(t Target) bool { return t.Backend == b.Name })
		}) {
			out = append(out, b)
		}
	}
	return out
}

func backendPart(b Backend, f Facts) BackendPart {
	part := BackendPart{BackendRow: backendRow(b, f.History.Kinds, f.Now), Endpoints: []EndpointRow{}}
	for _, e := range b.Endpoints {
		row := EndpointRow{Address: e.Address, InFlight: e.InFlight, Failed: e.Failed, State: Serving}
		switch {
		case e.Draining:
			row.State = Draining
		case e.Ejected.After(f.Now):
			row.State, row.Back = Ejected, e.Ejected
		}
		part.Endpoints = append(part.Endpoints, row)
	}
	return part
}

func spreadOf(p Passed) chart.Heat {
	return chart.Heat{ID: "spread", Title: "How long answers took", Unit: chart.Seconds, Start: p.SlotStart, Step: spread, Live: true,
		Bounds: signal.LatencyBounds[:], Columns: p.Latency, Empty: "Nothing was answered in the last five minutes.", Quiet: "answer"}
}

func flightLines(p Passed) chart.Lines {
	return chart.Lines{ID: "flight", Title: "In flight", Unit: chart.Count, Start: p.Start, Step: time.Second, Live: true,
		Empty: "No request has come in the last five minutes.",
		Series: []chart.Series{
			{Name: "requests", Values: p.InFlight, Tone: chart.ToneA, Shape: chart.StepArea},
		}}
}
