package view

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// counted is a reading of a route's counters: so many good and failed answers of 20 ms.
func counted(route string, good, failed uint64) Counts {
	c := Counts{Route: route, Failures: []uint64{0, failed}}
	c.Classes[2], c.Classes[5] = good, failed
	for range min(good, 100) {
		c.Latency.Observe(20 * time.Millisecond)
	}
	return c
}

func TestHistoryOfRates(t *testing.T) {
	h := &History{Kinds: []string{"", "connect refused"}}
	h.Observe(at(0), []Counts{counted("shop/a", 100, 0)})
	h.Observe(at(1), []Counts{counted("shop/a", 110, 0)})
	h.Observe(at(1).Add(100*time.Millisecond), []Counts{counted("shop/a", 999, 0)}) // too soon to be a reading
	h.Observe(at(5), []Counts{counted("shop/a", 150, 4), counted("shop/b", 8, 0)})
	a := h.Of("shop/a", at(5))
	if got := a.Classes[2]; got[len(got)-1] != 10 || got[len(got)-4] != 10 || got[len(got)-5] != 10 || !math.IsNaN(got[len(got)-6]) {
		t.Errorf("rates %v, want 10 for five seconds and nothing before", got[len(got)-7:])
	}
	if got, _ := a.Classes[5].Last(); got != 1 || a.Failures[1] != 4 {
		t.Errorf("failures: %v per second, %v by kind", got, a.Failures)
	}
	if got, _ := h.Of("shop/b", at(5)).Classes[2].Last(); got != 2 {
		t.Errorf("a route that is new has a rate of %v, want 2: all of it came since", got)
	}
	if got, _ := h.Of(All, at(5)).Classes[2].Last(); got != 12 {
		t.Errorf("all routes: %v", got)
	}
}

func TestHistoryHasGaps(t *testing.T) {
	h := &History{}
	h.Observe(at(0), []Counts{counted("r", 1, 0)})
	h.Observe(at(60), []Counts{counted("r", 600, 0)})
	if _, i := h.Of("r", at(60)).Classes[2].Last(); i >= 0 {
		t.Error("a rate was made up for a minute without readings")
	}
	h.Observe(at(61), []Counts{counted("r", 5, 0)}) // counts from zero: the gateway began anew
	if got, _ := h.Of("r", at(61)).Classes[2].Last(); got != 5 {
		t.Errorf("after a restart: %v, want 5", got)
	}
	h.Observe(at(62), nil)
	if len(h.routes) > 1 {
		t.Errorf("a route that is gone is remembered: %v", h.routes)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := &History{}
	one, two := []Counts{}, []Counts{}
	for i := range 2 * mostRoutes {
		name := "r" + strings.Repeat("x", i)
		one, two = append(one, counted(name, 0, 0)), append(two, counted(name, 1, 0))
	}
	h.Observe(at(0), one)
	h.Observe(at(1), one)
	if len(h.routes) > 0 {
		t.Errorf("%d routes without requests are remembered", len(h.routes))
	}
	h.Observe(at(2), two)
	if len(h.routes) > mostRoutes+1 {
		t.Errorf("%d routes are remembered", len(h.routes))
	}
}

func condition(kind, message string) []metav1.Condition {
	return []metav1.Condition{{Type: kind, Status: metav1.ConditionFalse, Message: message}}
}

func TestNotices(t *testing.T) {
	accepted := []Parent{{Name: "Gateway escale-system/escale"}}
	for _, c := range []struct {
		name string
		now  func(f *Facts)
		want string // state, what and a part of the text; empty for none
	}{
		{"all is well", func(*Facts) {}, ""},
		{"a route is refused", func(f *Facts) {
			f.Routes = []Route{{Kind: "HTTPRoute", Namespace: "n", Name: "r", Parents: []Parent{{Conditions: condition("Accepted", "No listener fits.")}}}}
		}, "Refused HTTPRoute n/r: No listener fits. kubectl edit httproute r -n n"},
		{"a backend is not there", func(f *Facts) {
			f.Routes = []Route{{Kind: "HTTPRoute", Namespace: "n", Name: "r", Parents: []Parent{{Conditions: condition("ResolvedRefs", "No Service.")}}}}
		}, "Broken HTTPRoute n/r: No Service."},
		{"a listener is refused", func(f *Facts) {
			f.Gateways = []Gateway{{Namespace: "n", Name: "g", Listeners: []Listener{{Name: "tls", Conditions: condition("ResolvedRefs", "No Secret.")}}}}
		}, "Refused Gateway n/g, listener tls: No Secret. kubectl describe gateway g -n n"},
		{"requests wait", func(f *Facts) { f.Backends = []Backend{{Name: "n/s:80", Held: 12}} },
			"Waiting Service n/s:80: 12 requests wait for the first ready pod."},
		{"too many wait", func(f *Facts) { f.Backends = []Backend{{Name: "n/s:80", Held: 256, HoldFull: true}} }, "Broken Service n/s:80: No pod is ready"},
		{"the breaker is open", func(f *Facts) { f.Backends = []Backend{{Name: "n/s:80", InFlight: 9000, Most: 8192, Full: true}} },
			"Broken Service n/s:80: The circuit breaker is open: 9000 requests are in flight"},
		{"a pod is ejected", func(f *Facts) {
			f.Backends = []Backend{{Name: "n/s:80", Endpoints: []Endpoint{{Address: "10.0.0.1:80", Ejected: f.Now.Add(14 * time.Second)}, {Address: "10.0.0.2:80", Ejected: f.Now.Add(-time.Second)}}}}
		}, "Ejected Service n/s:80: 10.0.0.1:80 gets no requests for 14 s"},
		{"a route fails", func(f *Facts) {
			f.Routes = []Route{{Kind: "HTTPRoute", Namespace: "n", Name: "r", Parents: accepted}}
			f.History.Observe(at(-1), []Counts{counted("n/r", 10, 0)})
			f.History.Observe(at(0), []Counts{counted("n/r", 19, 1)})
		}, "Failing HTTPRoute n/r: 10% of the answers of the last ten seconds are errors, mostly connect refused."},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Facts{Now: noon, History: &History{Kinds: []string{"", "connect refused"}}}
			c.now(&f)
			var got []string
			for _, n := range notices(f, f.briefs()) {
				got = append(got, n.State.String()+" "+n.What+": "+n.Text+" "+n.Next)
			}
			text := strings.Join(got, "\n")
			if !strings.HasPrefix(text, c.want) || c.want == "" && text != "" || len(got) > 1 {
				t.Errorf("%q, want %q", text, c.want)
			}
		})
	}
}

func TestPagesDraw(t *testing.T) {
	h := &History{Kinds: []string{"", "connect refused"}}
	for s := range 20 {
		h.Observe(at(s-20), []Counts{counted("shop/a", uint64(10*s), uint64(s)), counted("", uint64(s), 0)})
	}
	f := Facts{Now: noon, History: h,
		Gateways: []Gateway{{Namespace: "escale-system", Name: "escale", Class: "escale", Listeners: []Listener{{Name: "http", Protocol: "HTTP", Port: 80}}}},
		Routes: []Route{
			{Kind: "HTTPRoute", Namespace: "shop", Name: "a", Hosts: []string{"<a>.localhost"}, Parents: []Parent{{Name: "Gateway escale-system/escale"}},
				Rules: []Rule{{Matches: []string{"/*"}, Targets: []Target{{Backend: "shop/a:80", Weight: 1}}}}},
			{Kind: "HTTPRoute", Namespace: "shop", Name: "quiet"},
		},
		Backends: []Backend{{Name: "shop/a:80", Endpoints: []Endpoint{{Address: "10.0.0.1:80"}, {Address: "10.0.0.2:80", Draining: true}}, Failures: []uint64{0, 3}}},
	}
	page := Of(f, "")
	var all strings.Builder
	if err := Overall.ExecuteTemplate(&all, "page", page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shop/</span>a", "&lt;a&gt;.localhost", "Failing", "every host", "Unmatched", "connect refused 3", "escale-system/</span>escale"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if page.Total.Rate < 11 || page.Total.Rate > 13 || page.Total.P95 < .015 || page.Total.P95 > .02 {
		t.Errorf("total %+v", page.Total)
	}
	if found := Of(f, "quiet").Routes; len(found) != 1 || found[0].State != Waiting {
		t.Errorf("search: %+v", found)
	}
	one, ok := RouteOf(f, "shop", "a")
	var b strings.Builder
	if err := One.ExecuteTemplate(&b, "page", one); err != nil || !ok {
		t.Fatal(err, ok)
	}
	for _, want := range []string{"10.0.0.2:80", "Draining", "connect refused", "shop/a:80"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page of the route does not say %q", want)
		}
	}
	if _, ok := RouteOf(f, "shop", "none"); ok {
		t.Error("a route that is not there has a page")
	}
	for _, v := range []any{page, one} {
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	h := &History{Kinds: []string{"", "connect refused"}}
	f := Facts{Now: noon, History: h}
	names := make([]string, 50)
	for i := range names {
		names[i] = "shop/" + strings.Repeat("a", i+1)
		f.Routes = append(f.Routes, Route{Kind: "HTTPRoute", Namespace: "shop", Name: names[i][5:], Parents: []Parent{{}}})
	}
	for s := range 300 {
		var all []Counts
		for i, n := range names {
			all = append(all, counted(n, uint64(s*(i+s%7)), uint64(s)))
		}
		h.Observe(at(s-300), all)
	}
	b.ReportAllocs()
	for b.Loop() {
		var out strings.Builder
		if err := Overall.ExecuteTemplate(&out, "page", Of(f, "")); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Len()), "bytes/page")
	}
}

func TestListenerSetsAndPolicies(t *testing.T) {
	no := []metav1.Condition{{Type: "ResolvedRefs", Status: metav1.ConditionFalse, Message: `There is no ConfigMap "ca".`}}
	f := Facts{Now: noon, History: &History{},
		Gateways: []Gateway{
			{Namespace: "n", Name: "g", Class: "escale"},
			{Namespace: "team", Name: "extra", AddsTo: "n/g", Listeners: []Listener{{Name: "admin", Port: 8443, Conditions: no}}}},
		Policies: []Policy{
			{Namespace: "n", Name: "early", Targets: []string{"web"}, Host: "web.internal"},
			{Namespace: "n", Name: "broken", Targets: []string{"web"}, Ancestors: []Parent{{Name: "g", Conditions: no}}}}}
	page := Of(f, "")
	if g := page.Gateways[1]; g.Kind != "ListenerSet" || g.AddsTo != "n/g" || g.Listeners[0].State != Refused {
		t.Errorf("the ListenerSet is %+v", g)
	}
	if page.Policies[0].State != Waiting || page.Policies[1].State != Refused {
		t.Errorf("policies are %+v", page.Policies)
	}
	var told []string
	for _, n := range page.Notices {
		told = append(told, n.What+" "+n.Next)
	}
	for _, want := range []string{"ListenerSet team/extra, listener admin kubectl describe listenerset extra -n team", "BackendTLSPolicy n/broken kubectl describe backendtlspolicy broken -n n"} {
		if !slices.Contains(told, want) {
			t.Errorf("notices are %q, without %q", told, want)
		}
	}
	var b strings.Builder
	if err := Overall.ExecuteTemplate(&b, "page", page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"adds to n/g", "web.internal", `There is no ConfigMap &#34;ca&#34;.`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
