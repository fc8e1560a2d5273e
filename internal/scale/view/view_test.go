package view

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

var deployment = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "storefront"}

// storefront has five pods, wants eight and is steady otherwise.
func storefront() Workload {
	w := Workload{Object: "ScaledObject", Namespace: "shop", Name: "storefront", Workload: deployment, Min: 2, Max: 20,
		Decided: true, Replicas: 5, From: 5, Wanted: 5, Reason: "240 requests in flight, a pod takes 50: 5 pods",
		Triggers: []Trigger{{Type: "requests", Metric: "s0-requests", Value: 240, Target: 50, Pods: 5, Active: true, At: noon, Live: LiveInFlight}}}
	for i := range 300 {
		p := Point{At: noon.Add(time.Duration(i-299) * time.Second), Ready: 2, Desired: 2, InFlight: 80, Rate: 40, CPU: .2, CPUReserved: .5, Memory: 1 << 27, MemoryReserved: 1 << 28}
		if i > 200 {
			p.Ready, p.Desired, p.InFlight, p.CPUReserved = 5, 5, 240, 1.25
		}
		w.Past = append(w.Past, p)
	}
	return w
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(*Workload)
		want web.State
		next string // a part of the notice; empty for none
	}{
		{"as it should be", func(*Workload) {}, Steady, ""},
		{"more to come", func(w *Workload) { w.Replicas = 8 }, ScalingUp, ""},
		{"fewer to come", func(w *Workload) { w.Replicas = 3 }, ScalingDown, ""},
		{"no decision", func(w *Workload) { *w = Workload{} }, Waiting, ""},
		{"at zero", func(w *Workload) { w.Replicas, w.From, w.Resting = 0, 0, true }, Resting, ""},
		{"kept for a caller", func(w *Workload) {
			w.Held, w.Limit = true, `keeps pods while "Deployment shop/web" has no pod that is ready`
		}, Held, "has no pod that is ready. escale scale explain storefront -n shop"},
		{"wants more than it may", func(w *Workload) { w.AtMost, w.Wanted = true, 31 }, AtMost, "The demand asks for 31 pods, and maxReplicaCount is 20."},
		{"wants exactly what it may", func(w *Workload) { w.AtMost, w.Wanted = true, 20 }, AtMost, ""},
		{"two autoscalers", func(w *Workload) {
			w.Conflict, w.Problem = true, `HorizontalPodAutoscaler "storefront" scales it too`
		}, Conflict, "scales it too. kubectl get hpa,scaledobject -n shop"},
		{"a broken spec", func(w *Workload) { w.Problem = "trigger 0 has no queueName" }, Failing, "Trigger 0 has no queueName. kubectl describe scaledobject storefront -n shop"},
		{"a source is down", func(w *Workload) {
			w.Unread = true
			w.Triggers[0].Failures, w.Triggers[0].Error, w.Triggers[0].At = 3, "connection refused", noon.Add(-40*time.Second)
		}, Blind, "Trigger requests cannot be read (connection refused): its last value counts, which is 40s old."},
		{"the fallback counts", func(w *Workload) {
			w.Fallback, w.Triggers[0].Fallback, w.Triggers[0].Failures, w.Triggers[0].Error = true, true, 9, "connection refused"
		}, OnFallback, "the fallback counts"},
		{"paused", func(w *Workload) { w.Paused = true }, Paused, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := storefront()
			c.with(&w)
			if got := stateOf(w); got != c.want {
				t.Errorf("state %q, want %q", got, c.want)
			}
			text := ""
			for _, n := range notices(w, noon) {
				text += n.Text + " " + n.Next
			}
			if !strings.Contains(text, c.next) || c.next == "" && text != "" {
				t.Errorf("notice %q, want %q", text, c.next)
			}
		})
	}
}

func TestDemandAsPods(t *testing.T) {
	w := storefront()
	p := podLines(w, spanOf("", noon), nil)
	if len(p.Series) != 3 {
		t.Fatalf("%d series, want ready, asked for and demand", len(p.Series))
	}
	for i, want := range []float64{5, 5, 4.8} {
		if got, at := p.Series[i].Values.Last(); got != want || at != 299 {
			t.Errorf("%s: %v at %d, want %v now", p.Series[i].Name, got, at, want)
		}
	}
	for _, c := range []struct {
		name    string
		trigger Trigger
		point   Point
		want    float64
	}{
		{"a queue", Trigger{Metric: "s0-orders", Target: 20, Live: LiveLag}, Point{Lags: []signal.Lag{{Trigger: "s0-orders", Value: 100}}}, 5},
		{"CPU in per cent", Trigger{Percent: true, Target: 50, Live: LiveCPU}, Point{Ready: 2, CPU: .8, CPUReserved: 1}, 3.2},
		{"a queue that was not told", Trigger{Metric: "s0-orders", Target: 20, Live: LiveLag}, Point{}, math.NaN()},
		{"a clock", Trigger{Target: 1}, Point{}, math.NaN()},
	} {
		if got := c.point.wanted(&c.trigger); math.Abs(got-c.want) > 1e-9 || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("%s: %v pods, want %v", c.name, got, c.want)
		}
	}
}

func scaledUp(at time.Time) timeline.Record {
	return timeline.Record{Time: at, Actor: "scale", Action: "scaled up", Object: timeline.Object{Kind: "Deployment", Namespace: "shop", Name: "storefront"},
		From: "2 pods", To: "5 pods", Reason: "240 requests in flight; 3 of 3 new pods answered",
		Stages: []timeline.Stage{{Name: "signal", Duration: 600 * time.Millisecond}, {Name: "start", Duration: time.Second}, {Name: "first answer", Duration: 40 * time.Millisecond}}}
}

func facts() Facts {
	w := storefront()
	w.Running = []Scaleup{{At: noon, From: 5, To: 8, Stands: "0 of 3 new pods answered", Stages: []Stage{{Name: "signal", Took: time.Second}, {Name: "start", Took: 2 * time.Second, Running: true}}}}
	w.Advice = &Advice{CPU: Used{Reserved: 1.25, Mean: .2, Peak: .6}, Memory: Used{Reserved: 1 << 28, Mean: 1 << 27}, Target: .7, Text: "Reserve 0.5 cores less."}
	return Facts{Now: noon, Workloads: []Workload{w, {Object: "ScaledJob", Namespace: "shop", Name: "batch<>", Workload: signal.Workload{Kind: "ScaledJob", Namespace: "shop", Name: "batch<>"}}},
		Recent: []timeline.Record{scaledUp(noon.Add(-98 * time.Second))},
		Hours: []Hours{{Kind: "Deployment", Namespace: "shop", Name: "storefront", Down: true, Why: "downscaler/uptime of the namespace", Zone: "UTC",
			Up: []Period{{Day: time.Monday, From: 8 * time.Hour, To: 18 * time.Hour}}}}}
}

func TestPagesDraw(t *testing.T) {
	page := Of(facts(), "")
	var all strings.Builder
	if err := Overall.ExecuteTemplate(&all, "page", page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"240 requests in flight, a pod takes 50", "batch&lt;&gt;", "2 pods → 5 pods", "until the first answer", "Under way", "Reserve 0.5 cores less.", "Down", "0.2 of 1.25 cores"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if found := Of(facts(), "storefront steady"); len(found.Rows) != 1 {
		t.Errorf("the search found %d rows, want 1", len(found.Rows))
	}
	one, ok := WorkloadOf(facts(), "shop", "storefront", "15m")
	var b strings.Builder
	if err := One.ExecuteTemplate(&b, "page", one); err != nil || !ok {
		t.Fatal(err, ok)
	}
	for _, want := range []string{"50 per pod", "scaled up 2 pods → 5 pods", "Monday: up 08:00 to 18:00", `aria-current="true">15 min`, "what ready pods take"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page of the workload does not say %q", want)
		}
	}
	if _, ok := WorkloadOf(facts(), "shop", "none", ""); ok {
		t.Error("a workload that is not there has a page")
	}
	for _, v := range []any{page, one} {
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
	}
}

func TestEmptyPageSaysTheNextStep(t *testing.T) {
	var b strings.Builder
	if err := Overall.ExecuteTemplate(&b, "page", Of(Facts{Now: noon}, "")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Give an App bounds and a demand", "downscaler/uptime"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the empty page does not say %q", want)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	f := Facts{Now: noon}
	for i := range 50 {
		w := storefront()
		w.Name = strings.Repeat("a", i+1)
		f.Workloads = append(f.Workloads, w)
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
