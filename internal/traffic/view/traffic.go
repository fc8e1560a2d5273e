package view

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/web"
	"github.com/escale-dev/escale/internal/web/chart"
)

// Traffic is the Traffic page.
type Traffic struct {
	Query    string       `json:"-"`
	Total    Numbers      `json:"total"`
	Stats    []chart.Stat `json:"-"`
	Requests chart.Lines  `json:"requests"`
	Latency  chart.Lines  `json:"latency"`
	Notices  []web.Notice `json:"notices"`
	Routes   []RouteRow   `json:"routes"`
	Backends []BackendRow `json:"backends"`
	Gateways []GatewayRow `json:"gateways"`
	Policies []PolicyRow  `json:"backendTLSPolicies"`
	// Any says that there are routes at all, whatever is searched for.
	Any bool `json:"-"`
}

// Title of the page.
func (Traffic) Title() string { return "Traffic" }

// Numbers are what passes now: means of the last ten seconds, and the latency of the last thirty.
type Numbers struct {
	// Rate and Retries are requests per second, Errors the share of them that failed with 500 and above.
	Rate     chart.Number `json:"rate"`
	Errors   chart.Number `json:"errorRatio"`
	Retries  chart.Number `json:"retries"`
	InFlight chart.Number `json:"inFlight"`
	// P50, P95 and P99 are in seconds.
	P50 chart.Number `json:"p50"`
	P95 chart.Number `json:"p95"`
	P99 chart.Number `json:"p99"`
}

// RateText is the rate with its unit.
func (n Numbers) RateText() string { return chart.Rate.Text(float64(n.Rate)) }

// ErrorText is the share of errors, in percent.
func (n Numbers) ErrorText() string { return chart.Ratio.Text(float64(n.Errors)) }

// P50Text is the median with its unit.
func (n Numbers) P50Text() string { return chart.Seconds.Text(float64(n.P50)) }

// P95Text is the 95th percentile with its unit.
func (n Numbers) P95Text() string { return chart.Seconds.Text(float64(n.P95)) }

// P99Text is the 99th percentile with its unit.
func (n Numbers) P99Text() string { return chart.Seconds.Text(float64(n.P99)) }

// FlightText is the number of requests in flight.
func (n Numbers) FlightText() string { return chart.Count.Text(float64(n.InFlight)) }

// Failing says that more than one in a hundred requests fails.
func (n Numbers) Failing() bool { return n.Errors > .01 }

// RouteRow is a route in the list.
type RouteRow struct {
	Kind      string      `json:"kind"`
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Page      string      `json:"-"`
	Hosts     []string    `json:"hosts"`
	State     web.State   `json:"state"`
	Problem   string      `json:"problem,omitempty"`
	Numbers   Numbers     `json:"numbers"`
	Spark     chart.Spark `json:"-"`
}

// BackendRow is a backend in the list.
type BackendRow struct {
	Name     string       `json:"name"`
	State    web.State    `json:"state"`
	Ready    int          `json:"ready"`
	Ejected  int          `json:"ejected"`
	Draining int          `json:"draining"`
	InFlight int64        `json:"inFlight"`
	Held     int64        `json:"held"`
	Holds    uint64       `json:"holds"`
	Outs     uint64       `json:"ejections"`
	Denied   uint64       `json:"retriesDenied"`
	Failures []chart.Part `json:"failures"`
	Since    time.Time    `json:"lastSuccess,omitzero"`
}

// Worst are the kinds of failures that happened most, in words.
func (b BackendRow) Worst() string {
	var parts []string
	for _, p := range b.Failures[:min(2, len(b.Failures))] {
		parts = append(parts, p.Name+" "+chart.Count.Text(float64(p.Value)))
	}
	if rest := len(b.Failures) - 2; rest > 0 {
		parts = append(parts, fmt.Sprintf("%d other kinds", rest))
	}
	return strings.Join(parts, ", ")
}

// GatewayRow is a Gateway or a ListenerSet in the list.
type GatewayRow struct {
	Kind      string        `json:"kind"`
	AddsTo    string        `json:"addsTo,omitempty"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Class     string        `json:"class"`
	Addresses []string      `json:"addresses"`
	State     web.State     `json:"state"`
	Problem   string        `json:"problem,omitempty"`
	Listeners []ListenerRow `json:"listeners"`
}

// ListenerRow is a listener in the list.
type ListenerRow struct {
	Name     string    `json:"name"`
	Protocol string    `json:"protocol"`
	Port     int32     `json:"port"`
	Host     string    `json:"host,omitempty"`
	Routes   int32     `json:"routes"`
	State    web.State `json:"state"`
	Problem  string    `json:"problem,omitempty"`
}

// PolicyRow is a BackendTLSPolicy in the list.
type PolicyRow struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Targets   []string  `json:"targets"`
	Host      string    `json:"hostname"`
	Trusts    string    `json:"trusts"`
	State     web.State `json:"state"`
	Problem   string    `json:"problem,omitempty"`
}

// Of is the Traffic page for facts, with the routes and backends that a search chooses.
func Of(f Facts, query string) Traffic {
	all, total := f.History.Of(All, f.Now), f.History.brief(All, f.Now)
	briefs := f.briefs()
	t := Traffic{
		Query: query, Total: total.numbers, Any: len(f.Routes) > 0,
		Requests: requestLines("requests", all), Latency: latencyLines("latency", all),
		Notices: notices(f, briefs), Routes: []RouteRow{}, Backends: []BackendRow{}, Gateways: []GatewayRow{}, Policies: []PolicyRow{},
	}
	t.Stats = stats(total, f.Backends)
	for _, r := range f.Routes {
		if row := routeRow(r, briefs[r.ID()]); web.Matches(query, row.Namespace, row.Name, row.Kind, row.State.String(), row.Problem, strings.Join(row.Hosts, " ")) {
			t.Routes = append(t.Routes, row)
		}
	}
	if row, some := unrouted(f); some && query == "" {
		t.Routes = append(t.Routes, row)
	}
	for _, b := range f.Backends {
		if row := backendRow(b, f.History.Kinds, f.Now); web.Matches(query, row.Name, row.State.String()) {
			t.Backends = append(t.Backends, row)
		}
	}
	for _, g := range f.Gateways {
		t.Gateways = append(t.Gateways, gatewayRow(g))
	}
	for _, p := range f.Policies {
		t.Policies = append(t.Policies, policyRow(p))
	}
	slices.SortFunc(t.Routes, func(a, b RouteRow) int {
		return cmp.Or(cmp.Compare(boolOf(a.Name == ""), boolOf(b.Name == "")), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(t.Backends, func(a, b BackendRow) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

func boolOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

const (
	// recent is how many seconds a number of a list is the mean of.
	recent = 10
	// recentSlots is how many slots a latency of a list is taken from.
	recentSlots = 6
)

func quantile(counts []uint64, part float64) chart.Number {
	return chart.Number(chart.Quantile(signal.LatencyBounds[:], counts, part))
}

// add is the sum of values of the same seconds.
func add(all ...chart.Values) chart.Values {
	out := make(chart.Values, len(all[0]))
	for i := range out {
		out[i] = math.NaN()
		for _, v := range all {
			switch {
			case math.IsNaN(v[i]):
			case math.IsNaN(out[i]):
				out[i] = v[i]
			default:
				out[i] += v[i]
			}
		}
	}
	return out
}

func requestLines(id string, p Passed) chart.Lines {
	ok, client, failed := add(p.Classes[1], p.Classes[2], p.Classes[3]), p.Classes[4], p.Classes[5]
	l := chart.Lines{
		ID: id, Title: "Requests", Unit: chart.Rate, Start: p.Start, Step: time.Second, Live: true, Stacked: true,
		Empty: "No request has come in the last five minutes.",
		Series: []chart.Series{
			{Name: "2xx and 3xx", Values: ok, Tone: chart.ToneA},
			{Name: "4xx", Values: client, Tone: chart.ToneWarn, Shape: chart.Dashed},
			{Name: "5xx", Values: failed, Tone: chart.ToneBad, Shape: chart.Dashed},
		},
	}
	if gone := p.Classes[0]; gone.Max() > 0 {
		l.Series = append(l.Series, chart.Series{Name: "client gone", Values: gone, Tone: chart.ToneSoft, Shape: chart.Dotted})
	}
	return l
}

func latencyLines(id string, p Passed) chart.Lines {
	return chart.Lines{
		ID: id, Title: "Time to answer", Unit: chart.Seconds, Start: p.SlotStart, Step: spread, Live: true,
		Empty:  "Nothing was answered in the last five minutes.",
		Quiet:  "answer",
		Series: chart.Latencies(signal.LatencyBounds[:], p.Latency),
	}
}

func stats(b brief, backends []Backend) []chart.Stat {
	n := b.numbers
	var held int64
	for _, backend := range backends {
		held += backend.Held
	}
	spark := b.spark()
	out := []chart.Stat{
		{ID: "s-rate", Title: "Requests", Unit: chart.Rate, Value: n.Rate, Spark: &spark},
		{ID: "s-errors", Title: "Errors", Unit: chart.Ratio, Value: n.Errors, Note: "answered with 5xx"},
		{ID: "s-p95", Title: "p95", Unit: chart.Seconds, Value: n.P95, Note: "p50 " + n.P50Text()},
		{ID: "s-flight", Title: "In flight", Value: n.InFlight},
		{ID: "s-held", Title: "Held", Value: chart.Number(held), Note: "wait for a pod"},
		{ID: "s-retries", Title: "Sent again", Unit: chart.Rate, Value: n.Retries},
	}
	if n.Failing() {
		out[1].Level = "bad"
	}
	if held > 0 {
		out[4].Level = "warn"
	}
	return out
}

// problemOf is what the first condition that says no tells; false without one.
func problemOf(conditions []metav1.Condition, types ...string) (string, bool) {
	for _, t := range types {
		if c := meta.FindStatusCondition(conditions, t); c != nil && c.Status == metav1.ConditionFalse {
			return c.Message, true
		}
	}
	return "", false
}

func routeState(r Route) (web.State, string) {
	if len(r.Parents) == 0 {
		return Waiting, "No gateway of this platform has answered for it: name one in spec.parentRefs."
	}
	for _, p := range r.Parents {
		if text, found := problemOf(p.Conditions, "Accepted"); found {
			return Refused, text
		}
		if text, found := problemOf(p.Conditions, "ResolvedRefs"); found {
			return Broken, text
		}
	}
	return Accepted, ""
}

// briefs are the lines of all routes.
func (f Facts) briefs() map[string]brief {
	out := make(map[string]brief, len(f.Routes))
	for _, r := range f.Routes {
		out[r.ID()] = f.History.brief(r.ID(), f.Now)
	}
	return out
}

func routeRow(r Route, b brief) RouteRow {
	row := RouteRow{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Page: "/traffic/" + r.ID(), Hosts: r.Hosts, Numbers: b.numbers, Spark: b.spark()}
	row.State, row.Problem = routeState(r)
	if row.State != Accepted {
		return row
	}
	switch {
	case row.Numbers.Failing():
		row.State = Failing
	case row.Numbers.Rate > 0 || row.Numbers.InFlight > 0:
		row.State = Serving
	default:
		row.State = Idle
	}
	return row
}

// unrouted is the row of requests that no route takes; some is false when there were none.
func unrouted(f Facts) (row RouteRow, some bool) {
	b := f.History.brief("", f.Now)
	return RouteRow{Numbers: b.numbers, Spark: b.spark(), State: Unmatched, Hosts: []string{"answered 404: no route takes these requests"}}, b.any
}

func backendRow(b Backend, kinds []string, now time.Time) BackendRow {
	row := BackendRow{Name: b.Name, InFlight: b.InFlight, Held: b.Held, Holds: b.Holds, Outs: b.Ejections, Denied: b.Denied,
		Since: b.LastSuccess, Failures: failureParts(kinds, b.Failures)}
	for _, e := range b.Endpoints {
		switch {
		case e.Draining:
			row.Draining++
		case e.Ejected.After(now):
			row.Ejected++
		default:
			row.Ready++
		}
	}
	switch {
	case b.Full || b.HoldFull:
		row.State = Broken
	case b.Held > 0:
		row.State = Waiting
	case row.Ejected > 0:
		row.State = Degraded
	case row.Ready > 0:
		row.State = Serving
	case row.Draining > 0:
		row.State = Draining
	default:
		row.State = Idle
	}
	return row
}

// failureParts are the kinds that happened, the most frequent first.
func failureParts(kinds []string, counts []uint64) []chart.Part {
	parts := []chart.Part{}
	for i, n := range counts[:min(len(counts), len(kinds))] {
		if n > 0 && kinds[i] != "" {
			parts = append(parts, chart.Part{Name: kinds[i], Value: chart.Number(n), Tone: chart.ToneBad})
		}
	}
	slices.SortStableFunc(parts, func(a, b chart.Part) int { return cmp.Compare(b.Value, a.Value) })
	return parts
}

// policyRow says of a policy that no route reaches that it waits.
func policyRow(p Policy) PolicyRow {
	row := PolicyRow{Namespace: p.Namespace, Name: p.Name, Targets: p.Targets, Host: p.Host, Trusts: p.Trusts, State: Accepted}
	if len(p.Ancestors) == 0 {
		row.State, row.Problem = Waiting, "No route of this platform leads to its Services yet."
	}
	for _, a := range p.Ancestors {
		if text, found := problemOf(a.Conditions, "Accepted", "ResolvedRefs"); found {
			row.State, row.Problem = Refused, text
			break
		}
	}
	return row
}

func gatewayRow(g Gateway) GatewayRow {
	row := GatewayRow{Kind: "Gateway", AddsTo: g.AddsTo, Namespace: g.Namespace, Name: g.Name, Class: g.Class, Addresses: g.Addresses, State: Accepted, Listeners: []ListenerRow{}}
	if text, found := problemOf(g.Conditions, "Accepted", "Programmed"); found {
		row.State, row.Problem = Refused, text
	}
	if g.AddsTo != "" {
		row.Kind = "ListenerSet"
	}
	for _, l := range g.Listeners {
		line := ListenerRow{Name: l.Name, Protocol: l.Protocol, Port: l.Port, Host: l.Host, Routes: l.Routes, State: Accepted}
		if text, found := problemOf(l.Conditions, "Accepted", "ResolvedRefs", "Programmed"); found {
			line.State, line.Problem = Refused, text
		}
		row.Listeners = append(row.Listeners, line)
	}
	return row
}
