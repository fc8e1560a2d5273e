package chart

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"html/template"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	nan   = math.NaN()
	start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
)

// drawings are one of each kind, and the odd ones.
func drawings() map[string]interface{ HTML() template.HTML } {
	return map[string]interface{ HTML() template.HTML }{
		"lines": Lines{ID: "c", Title: "Requests <by> outcome", Unit: Rate, Start: start, Step: time.Second, Live: true,
			Series: []Series{
				{Name: "answered", Tone: ToneA, Shape: Area, Values: Values{10, 20, nan, 30, 30, 30, 12.5}},
				{Name: "failed", Tone: ToneBad, Shape: Dashed, Values: Values{nan, nan, 1, nan, 0, 0, 2}},
			},
			Limits: []Limit{{Name: "target", Value: 40, Tone: ToneSoft}},
			Marks: []Mark{
				{At: start.Add(2 * time.Second), Kind: ScaledUp, Text: `2 → 5 pods "now"`},
				{At: start.Add(-time.Second), Kind: Deployed, Text: "too old to be shown"},
			}},
		"stacked": Lines{ID: "c", Title: "By class", Unit: Rate, Start: start, Step: time.Minute, Stacked: true,
			Series: []Series{{Name: "2xx", Tone: ToneA, Values: Values{1, 2, 3}}, {Name: "5xx", Tone: ToneBad, Values: Values{1, nan, 1}}}},
		"steps": Lines{ID: "c", Title: "Pods", Start: start, Step: time.Second, Live: true,
			Bands:  []Band{{Name: "bounds", Tone: ToneSoft, Low: Values{1, 1, 1}, High: Values{4, 4, 4}}},
			Series: []Series{{Name: "ready", Tone: ToneA, Shape: StepArea, Values: Values{1, 1, 3}}}},
		"old": Lines{ID: "c", Title: "Memory", Unit: Bytes, Start: start, Step: 10 * time.Second, Live: true,
			Series: []Series{{Name: "used", Tone: ToneA, Values: Values{1 << 28, 3 << 28, nan, nan, nan, nan}}}},
		"one-point": Lines{ID: "c", Title: "Latency", Unit: Seconds, Start: start, Step: time.Second, Series: []Series{{Name: "p50", Values: Values{.0123}}}},
		"empty":     Lines{ID: "c", Title: "Latency", Empty: "No request yet. Send one."},
		"spark":     Spark{Title: "Requests", Unit: Rate, Values: Values{1, 2, nan, 4}, Tone: ToneA, Over: Values{0, 1, nan, 0}, OverTone: ToneBad},
		"stat":      Stat{ID: "s", Title: "Errors", Unit: Ratio, Value: .0123, Level: "bad", Note: "12 of 976"},
		"gauge":     Gauge{Title: "CPU", Unit: Cores, Used: .2, Of: 1.5, Goal: .9},
		"stack":     Stack{Title: "Answers", Legend: true, Parts: []Part{{"2xx", 90, ToneOK}, {"4xx", 0, ToneWarn}, {"5xx", 10, ToneBad}}},
		"bars":      Bars{Title: "Waste", Unit: Cores, Parts: []Part{{"search", 1.5, ToneA}, {"basket", .25, ToneA}}},
		"heat": Heat{ID: "h", Title: "Latency", Unit: Seconds, Start: start, Step: time.Second, Live: true, Bounds: []float64{.01, .1, 1},
			Columns: [][]uint64{{1, 5, 0, 0}, nil, {0, 900, 3, 1}}},
		"waterfall": Waterfall{ID: "w", Title: "until the first answer", Goal: 10 * time.Second, Stages: []Stage{
			{Name: "signal", Took: 800 * time.Millisecond}, {Name: "start", Took: 3 * time.Second, Own: true, Note: "the program's own start"},
			{Name: "ready", Took: time.Second, Running: true}}},
		"week": Week{ID: "k", Title: "Office hours", Zone: "Europe/Berlin", Now: start,
			Spans: []Period{{Day: time.Monday, From: 8 * time.Hour, To: 18 * time.Hour, Name: "up", Tone: ToneOK}}},
		"table": Table{ID: "t", Title: "Routes", Columns: []string{"Route", "#Rate"},
			Rows: []Row{{Cells: []string{"shop/<search>", "12"}, Link: "/traffic/shop/search"}, {Cells: []string{"x", "1"}, Link: "//evil"}}},
	}
}

func TestGolden(t *testing.T) {
	for name, d := range drawings() {
		t.Run(name, func(t *testing.T) {
			got := strings.ReplaceAll(string(d.HTML()), "><", ">\n<") + "\n"
			wellFormed(t, got)
			path := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is drawn otherwise; look at it, then run go test -update\n%s", name, got)
			}
		})
	}
}

// shapeAttributes hold numbers.
var shapeAttributes = map[string]bool{"d": true, "x": true, "x1": true, "x2": true, "y": true, "y1": true, "y2": true, "width": true, "viewBox": true, "data-v": true}

// wellFormed checks what a content security policy and a parser would object to.
func wellFormed(t *testing.T, markup string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(strings.NewReplacer(" data-stacked>", ">", " data-time datetime", " datetime").Replace(markup)))
	d.Entity = xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, markup)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if element.Name.Local == "script" || element.Name.Local == "style" {
			t.Errorf("holds <%s>", element.Name.Local)
		}
		for _, a := range element.Attr {
			if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
				t.Errorf("<%s> has an inline %s", element.Name.Local, a.Name.Local)
			}
			if shapeAttributes[a.Name.Local] && (strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf")) {
				t.Errorf("<%s %s=%q>", element.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
}

func TestGapsAreNotDrawn(t *testing.T) {
	p := pen{axis: newAxis(Count, 0, 10), count: 6}
	if got, want := p.along(Values{0, 10, nan, 10, nan, 0}, false), "M0 1000L1 0M3 0h0M5 1000h0"; got != want {
		t.Errorf("path %q, want %q", got, want)
	}
	if got, want := p.between(nil, Values{10, 10, nan}, false), "M0 0H1V1000H0Z"; got != want {
		t.Errorf("area %q, want %q", got, want)
	}
	if got, want := p.along(Values{5, 5, 5, 10}, true), "M0 500H2H3V0"; got != want {
		t.Errorf("steps %q, want %q", got, want)
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		unit  Unit
		value float64
		want  string
	}{
		{Count, 0, "0"}, {Count, 7, "7"}, {Count, 12345, "12.3k"}, {Count, 999.7, "1k"}, {Count, -3, "−3"}, {Count, 999_999, "1M"},
		{Rate, 18.25, "18.2 req/s"}, {Rate, .05, "0.05 req/s"}, {Rate, 1234, "1.23k req/s"},
		{Seconds, 0, "0 ms"}, {Seconds, .0004, "400 µs"}, {Seconds, .0124, "12.4 ms"}, {Seconds, .9999, "1 s"}, {Seconds, 1.239, "1.24 s"}, {Seconds, 125, "2m 5s"},
		{Seconds, 8000, "2h 13m"}, {Seconds, 400000, "4d 15h"},
		{Bytes, 512, "512 B"}, {Bytes, 1 << 20, "1 MiB"}, {Bytes, 1023 << 20, "1 GiB"}, {Bytes, 1.5 * (1 << 30), "1.5 GiB"},
		{Ratio, .0123, "1.23%"}, {Ratio, 1, "100%"}, {Cores, .25, "0.25 cores"},
		{"messages", 4, "4 messages"}, {Rate, nan, "–"}, {Bytes, math.Inf(1), "–"},
	} {
		if got := c.unit.Text(c.value); got != c.want {
			t.Errorf("%q of %v is %q, want %q", c.unit, c.value, got, c.want)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		name      string
		unit      Unit
		low, high float64
		want      string
	}{
		{"nothing", Count, 0, 0, "0 1"},
		{"a few things are not cut in parts", Count, 0, 3, "0 1 2 3"},
		{"round steps", Rate, 0, 87, "0 25 50 75 100"},
		{"milliseconds", Seconds, 0, .18, "0 50 ms 100 ms 150 ms 200 ms"},
		{"bytes in what they are written in", Bytes, 0, 300 << 20, "0 100 MiB 200 MiB 300 MiB"},
		{"below zero", Cores, -1.2, 2, "−2 −1 0 1 2"},
		{"parts", Ratio, 0, .031, "0 1% 2% 3% 4%"},
	} {
		a := newAxis(c.unit, c.low, c.high)
		var got []string
		for _, tick := range a.ticks {
			got = append(got, a.label(tick))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

func TestThinKeepsItsPlace(t *testing.T) {
	v := Values{1, 2, 3, 4, 5, 6}
	got, at, step := Thin(v, start.Add(time.Second), time.Second, 3, Max)
	if at != start || step != 3*time.Second || len(got) != 3 || got[0] != 2 || got[1] != 5 || got[2] != 6 {
		t.Errorf("%v from %v each %v", got, at, step)
	}
	later, _, _ := Thin(v[1:], start.Add(2*time.Second), time.Second, 3, Max)
	if later[1] != got[1] || later[2] != got[2] {
		t.Errorf("a second later the same times have other values: %v, then %v", got, later)
	}
	if m := (Values{nan, 2, 4}).Mean(); m != 3 {
		t.Errorf("mean %v, want 3", m)
	}
}

func TestPlace(t *testing.T) {
	seen := func(yield func(time.Time, float64) bool) {
		_ = yield(start.Add(-time.Second), 9) && yield(start.Add(3*time.Second), 1) && yield(start.Add(3500*time.Millisecond), 2) && yield(start.Add(8*time.Second), 3)
	}
	got := Place(start, time.Second, 10, 2*time.Second, seen)
	want := Values{nan, nan, nan, 2, nan, nan, nan, nan, 3, 3}
	for i := range want {
		if got[i] != want[i] && !(math.IsNaN(got[i]) && math.IsNaN(want[i])) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	bounds := []float64{1, 2, 4}
	for _, c := range []struct {
		name   string
		counts []uint64
		part   float64
		want   float64
	}{
		{"within a bucket", []uint64{0, 10, 0, 0}, .5, 1.5},
		{"over buckets", []uint64{5, 5, 10, 0}, .75, 3},
		{"above every bound", []uint64{0, 0, 0, 7}, .5, 4},
	} {
		if got := Quantile(bounds, c.counts, c.part); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := Quantile(bounds, []uint64{0, 0, 0, 0}, .5); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(Lines{Title: "x", Series: []Series{{Name: "a", Values: Values{1, nan, math.Inf(1), .5}}}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"values":[1,null,null,0.5]`) {
		t.Errorf("%s", b)
	}
	if b, err = json.Marshal(Stat{Value: Number(nan)}); err != nil || !strings.Contains(string(b), `"value":null`) {
		t.Errorf("%s, %v", b, err)
	}
}

// FuzzDraw gives odd numbers, times and names to every chart: they are drawn as well-formed markup, or left out.
func FuzzDraw(f *testing.F) {
	f.Add(0.0, 1.0, math.NaN(), int64(0), int64(1), "name", uint64(3))
	f.Add(math.Inf(1), -1.0, math.MaxFloat64, int64(-1<<62), int64(-1), `"><script>`, uint64(math.MaxUint64))
	f.Add(1e-300, -1e299, 5e-324, int64(1<<62), int64(1<<62), "\x00\xff", uint64(0))
	f.Fuzz(func(t *testing.T, a, b, c float64, at, step int64, name string, n uint64) {
		v := Values{a, b, nan, c, a}
		when, each := time.Unix(0, at), time.Duration(step)
		for _, unit := range []Unit{Count, Rate, Seconds, Cores, Bytes, Ratio, Unit(name)} {
			l := Lines{ID: "x", Title: name, Unit: unit, Start: when, Step: each, Live: n%2 == 0, Stacked: n%3 == 0,
				Series: []Series{{Name: name, Values: v, Shape: Step}, {Name: name, Values: Values{b}}, {Name: "none"}},
				Bands:  []Band{{Low: v, High: Values{c, c}}}, Limits: []Limit{{Value: b}}, Marks: []Mark{{At: when, Text: name}}}
			for _, d := range []interface{ HTML() template.HTML }{
				l, Spark{Title: name, Unit: unit, Values: v, Over: Values{c}}, Stat{Title: name, Unit: unit, Value: Number(a)},
				Gauge{Title: name, Unit: unit, Used: Number(a), Of: Number(b), Goal: Number(c)},
				Stack{Title: name, Unit: unit, Parts: []Part{{name, Number(a), ToneA}, {name, Number(b), ToneB}}, Legend: true},
				Bars{Title: name, Unit: unit, Parts: []Part{{name, Number(a), ToneA}, {name, Number(c), ToneB}}},
				Heat{ID: "x", Title: name, Unit: unit, Start: when, Step: each, Bounds: []float64{a, b}, Columns: [][]uint64{{n, 1, 2, 3}, nil, {n}}},
				Waterfall{ID: "x", Title: name, Goal: each, Stages: []Stage{{Name: name, Took: time.Duration(at)}, {Took: each}}},
				Week{ID: "x", Title: name, Now: when, Spans: []Period{{Day: time.Weekday(at % 9), From: each, To: time.Duration(at), Name: name}}},
			} {
				if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0xfffd || r == 0xfffe || r == 0xffff }) {
					if strings.Contains(string(d.HTML()), "<script") {
						t.Fatal("a name became an element")
					}
					continue
				}
				wellFormed(t, string(d.HTML()))
			}
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	})
}
