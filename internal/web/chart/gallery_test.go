package chart

import (
	"html/template"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGallery writes a page with every chart on data as it comes, to look at: go test -run Gallery -artifacts.
func TestGallery(t *testing.T) {
	style, err := os.ReadFile("../assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>` + string(style) + `</style><main><div class="charts">`)
	for _, d := range gallery() {
		b.WriteString(string(d.HTML()) + "\n")
	}
	b.WriteString("</div></main>")
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "gallery.html"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wave(n int, base, swing, noise float64, r *rand.Rand) Values {
	v := make(Values, n)
	for i := range v {
		v[i] = max(0, base+swing*math.Sin(float64(i)/40)+noise*(r.Float64()-.5))
	}
	return v
}

func gallery() []interface{ HTML() template.HTML } {
	const n = 300
	r := rand.New(rand.NewPCG(1, 2))
	requests, failed := wave(n, 180, 80, 30, r), wave(n, -2, 6, 4, r)
	ready, desired := make(Values, n), make(Values, n)
	heat := Heat{ID: "heat", Title: "Latency", Unit: Seconds, Start: start, Step: 5 * time.Second, Live: true, Bounds: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2}}
	for i := range n {
		ready[i], desired[i] = 2, 2
		if i > 120 {
			desired[i] = 8
		}
		if i > 127 {
			ready[i] = min(8, 2+float64(i-127))
		}
		if i > 200 && i < 215 {
			requests[i], failed[i] = math.NaN(), math.NaN()
		}
	}
	for range 60 {
		c := make([]uint64, 12)
		for range 400 {
			c[min(11, max(0, int(4+r.NormFloat64()*1.2+max(0, r.NormFloat64()-1.7)*4)))]++
		}
		heat.Columns = append(heat.Columns, c)
	}
	heat.Columns[20] = nil
	marks := []Mark{{At: start.Add(60 * time.Second), Kind: Deployed, Text: "revision c41a09e7 deployed"}, {At: start.Add(120 * time.Second), Kind: ScaledUp, Text: "2 → 8 pods: 240 requests in flight"}}
	return []interface{ HTML() template.HTML }{
		Lines{ID: "a", Title: "Requests", Unit: Rate, Start: start, Step: time.Second, Live: true, Marks: marks,
			Series: []Series{{Name: "answered", Values: requests, Tone: ToneA, Shape: Area}, {Name: "failed", Values: failed, Tone: ToneBad, Shape: Dashed}}},
		Lines{ID: "b", Title: "Latency", Unit: Seconds, Start: start, Step: time.Second, Live: true, Limits: []Limit{{Name: "objective", Value: .25, Tone: ToneSoft}},
			Series: []Series{{Name: "p50", Values: wave(n, .02, .01, .01, r), Tone: ToneA}, {Name: "p95", Values: wave(n, .09, .04, .04, r), Tone: ToneC, Shape: Dashed}, {Name: "p99", Values: wave(n, .18, .04, .09, r), Tone: ToneB, Shape: Dotted}}},
		Lines{ID: "c", Title: "Replicas", Start: start, Step: time.Second, Live: true, Marks: marks, Bands: []Band{{Name: "bounds", Tone: ToneSoft, Low: ready, High: desired}},
			Series: []Series{{Name: "ready", Values: ready, Tone: ToneA, Shape: StepArea}, {Name: "desired", Values: desired, Tone: ToneC, Shape: StepDashed}}},
		heat,
		Lines{ID: "d", Title: "Memory", Unit: Bytes, Start: start, Step: time.Second, Live: true, Stacked: true,
			Series: []Series{{Name: "storefront", Values: wave(n-40, 90<<20, 10<<20, 1<<20, r), Tone: ToneA}, {Name: "catalog", Values: wave(n-40, 60<<20, 4<<20, 1<<20, r), Tone: ToneB}, {Name: "payment", Values: append(wave(n-40, 30<<20, 9<<20, 1<<20, r), make(Values, 40)...), Tone: ToneC}}},
		Lines{ID: "e", Title: "Queue", Unit: "messages", Empty: "No message has been seen yet. Send one, and it appears here within a second."},
		Waterfall{ID: "w", Title: "until the first answer", Goal: 10 * time.Second, Stages: []Stage{
			{Name: "signal", Took: 600 * time.Millisecond}, {Name: "decision", Took: 3 * time.Millisecond}, {Name: "placement", Took: 40 * time.Millisecond}, {Name: "node", Took: 10 * time.Millisecond},
			{Name: "start", Took: 900 * time.Millisecond, Own: true}, {Name: "ready", Took: 1300 * time.Millisecond, Own: true}, {Name: "routed", Took: 20 * time.Millisecond}, {Name: "first answer", Took: 9 * time.Millisecond}}},
		Week{ID: "k", Title: "Office hours", Zone: "Europe/Berlin", Now: start.Add(3 * time.Hour), Spans: []Period{
			{Day: time.Monday, From: 8 * time.Hour, To: 18 * time.Hour, Name: "up", Tone: ToneOK}, {Day: time.Tuesday, From: 8 * time.Hour, To: 18 * time.Hour, Name: "up", Tone: ToneOK}, {Day: time.Friday, From: 8 * time.Hour, To: 16 * time.Hour, Name: "up", Tone: ToneOK}}},
		Stat{ID: "s", Title: "Requests", Unit: Rate, Value: 184.2, Note: "all routes", Spark: &Spark{Title: "Requests", Unit: Rate, Values: requests, Tone: ToneA}},
		Stack{Title: "Answers", Legend: true, Parts: []Part{{"2xx", 900, ToneA}, {"4xx", 40, ToneWarn}, {"5xx", 12, ToneBad}}},
		Bars{Title: "Waste", Unit: Cores, Parts: []Part{{"search", 1.5, ToneA}, {"basket", .25, ToneA}, {"payment", .1, ToneA}}},
		Gauge{Title: "CPU", Unit: Cores, Used: .4, Of: 1.5, Goal: .9},
		Table{ID: "tt", Title: "Routes", Columns: []string{"Route", "#Requests", "#p95"}, Rows: []Row{{Cells: []string{"shop/search", "120 req/s", "12 ms"}, Link: "/traffic"}, {Cells: []string{"shop/basket", "7.2 req/s", "43 ms"}}}},
	}
}
