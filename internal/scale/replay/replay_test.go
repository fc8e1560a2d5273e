package replay

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

// seconds is CSV with one value a second: "20*60 100*600" is 60 seconds of 20, then 600 of 100.
func seconds(t testing.TB, column, runs string) Each {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, column)
	for run := range strings.FieldsSeq(runs) {
		var value float64
		var n int
		if _, err := fmt.Sscanf(run, "%g*%d", &value, &n); err != nil {
			t.Fatal(err)
		}
		for range n {
			fmt.Fprintln(&b, value)
		}
	}
	return Text(strings.NewReader(b.String()))
}

func replayOf(t *testing.T, each Each, settings ...Settings) []Outcome {
	t.Helper()
	results, err := runTable(each, func(signal.Workload) []Settings { return settings })
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	return results[0].Outcomes
}

func changed(t *testing.T, s Settings, changes string) Settings {
	t.Helper()
	out, err := s.With(changes)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6*math.Max(1, math.Abs(b)) }

// TestSpike is a fivefold demand: the second that shows it is followed by one that confirms it, and pods take 3 seconds.
func TestSpike(t *testing.T) {
	present := changed(t, Default(InFlight, 10), "min=2")
	got := replayOf(t, seconds(t, "in-flight", "20*60 100*60"), present)[0]
	if got.Peak != 10 || got.ScaleUps != 1 || got.ScaleIns != 0 {
		t.Errorf("peak %d after %d scale-ups", got.Peak, got.ScaleUps)
	}
	if !near(got.Unserved, 80*4) || !near(got.UnservedSeconds, 4) || !near(got.PeakDemand, 100) {
		t.Errorf("unserved %g in %g s, peak demand %g; want 320 in 4 s, 100", got.Unserved, got.UnservedSeconds, got.PeakDemand)
	}
	if !near(got.Demand, 20*60+100*59) || !near(got.Seconds, 119) {
		t.Errorf("demand %g in %g s", got.Demand, got.Seconds)
	}
	// 2 pods for 61 seconds, 10 for 58, of which the demand needed all that there were.
	if !near(got.PodSeconds, 2*61+10*58) || !near(got.Waste(), 0) {
		t.Errorf("%g pod-seconds, waste %g", got.PodSeconds, got.Waste())
	}
}

func TestOtherSettings(t *testing.T) {
	present := changed(t, Default(InFlight, 10), "min=2")
	each := func() Each { return seconds(t, "in-flight", "20*60 100*600 20*600") }
	base := replayOf(t, each(), present)[0]
	for _, c := range []struct {
		changes string
		check   func(o Outcome) bool
	}{
		{"target=20", func(o Outcome) bool { return o.Peak == 5 && o.UnservedShare() > .4 && o.PodSeconds < base.PodSeconds }},
		{"target=20,capacity=20", func(o Outcome) bool { return o.Peak == 5 && o.UnservedShare() < .01 }},
		{"max=7", func(o Outcome) bool { return o.Peak == 7 && o.Unserved > base.Unserved }},
		{"start=30s", func(o Outcome) bool { return near(o.Unserved, 80*31) }},
		{"start=0s", func(o Outcome) bool { return near(o.Unserved, 80*1) }},
		{"stabilization=30s", func(o Outcome) bool { return o.PodSeconds < base.PodSeconds-8*200 }},
		{"min=10", func(o Outcome) bool { return o.Unserved == 0 && o.ScaleUps == 0 && o.Waste() > base.Waste() }},
	} {
		t.Run(c.changes, func(t *testing.T) {
			got := replayOf(t, each(), present, changed(t, present, c.changes))
			if got[0].PodSeconds != base.PodSeconds || got[0].Unserved != base.Unserved {
				t.Errorf("the present settings came to something else beside others: %+v", got[0])
			}
			if !c.check(got[1]) {
				t.Errorf("%s: peak %d, unserved %g, %g pod-seconds, waste %g; present %g, %g, %g", c.changes, got[1].Peak,
					got[1].Unserved, got[1].PodSeconds, got[1].Waste(), base.Unserved, base.PodSeconds, base.Waste())
			}
		})
	}
}

func TestFromZeroAndBack(t *testing.T) {
	set := changed(t, Default(Rate, 10), "min=0,cooldown=60s,start=2s")
	got := replayOf(t, seconds(t, "rate", "0*600 5*10 0*600"), set)[0]
	if got.ScaleUps != 1 || got.ScaleIns != 1 || got.Peak != 1 {
		t.Errorf("%d up, %d in, peak %d; want 1, 1 and 1", got.ScaleUps, got.ScaleIns, got.Peak)
	}
	if !near(got.Unserved, 5*2) {
		t.Errorf("unserved %g, want the two seconds of the start", got.Unserved)
	}
}

func TestUtilization(t *testing.T) {
	table := "time,cpu,cpu-reserved,pods\n"
	for i := range 120 {
		cpu := 0.5
		if i >= 60 {
			cpu = 2
		}
		table += fmt.Sprintf("%d,%g,2,4\n", i, cpu)
	}
	set := changed(t, Default(CPU, 50), "min=1")
	got := replayOf(t, Text(strings.NewReader(table)), set)[0]
	// 4 pods of half a core at 25 % stay for the stabilisation; 2 cores at 50 % of half a core are 8 pods.
	if got.Peak != 8 || got.ScaleUps != 1 {
		t.Errorf("peak %d after %d scale-ups, want 8 after 1", got.Peak, got.ScaleUps)
	}
}

func TestGapsAreNotCounted(t *testing.T) {
	table := "time,in-flight,pods\n0,10,1\n1,10,1\n7200,10,1\n7201,10,1\n"
	got := replayOf(t, Text(strings.NewReader(table)), Default(InFlight, 10))[0]
	if !near(got.Seconds, 62) || got.To.Sub(got.From) != 7201*time.Second {
		t.Errorf("counted %g s from %s to %s", got.Seconds, got.From, got.To)
	}
}

func TestOrderAndDoublesDoNotMatter(t *testing.T) {
	table := "time,in-flight\n0,10\n1,10\n1,99\n0,99\n2,10\n"
	got := replayOf(t, Text(strings.NewReader(table)), Default(InFlight, 10))[0]
	if !near(got.Demand, 20) {
		t.Errorf("demand %g", got.Demand)
	}
}

func TestFormsAgree(t *testing.T) {
	csv := "workload,time,in-flight,lag:s0,ready\n" +
		"Deployment shop/storefront,2026-03-01T12:00:00Z,3,7,1\nDeployment shop/catalog,2026-03-01T12:00:00Z,1,,\n" +
		"Deployment shop/storefront,2026-03-01T12:00:01Z,4,8,2\n"
	lines := `{"workload":"Deployment shop/storefront","time":"2026-03-01T12:00:00Z","in-flight":3,"lag:s0":7,"ready":1}
{"in-flight":1,"time":"2026-03-01T12:00:00Z","workload":"Deployment shop/catalog"}

{"workload":"Deployment shop/storefront","time":"2026-03-01T12:00:01Z","in-flight":4,"lag:s0":8,"ready":2}
`
	read := func(each Each) (out string) {
		err := each(func(w signal.Workload, f *signal.Facts) error {
			out += fmt.Sprintln(w, f.At.Unix(), f.InFlight, Column("lag:s0").reader()(f), Lag.reader()(f), f.Ready)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := "Deployment shop/storefront 1772366400 3 7 7 1\nDeployment shop/catalog 1772366400 1 0 0 0\n" +
		"Deployment shop/storefront 1772366401 4 8 8 2\n"
	if got := read(Text(strings.NewReader(csv))); got != want {
		t.Errorf("CSV:\n%s", got)
	}
	if got := read(Text(strings.NewReader(lines))); got != want {
		t.Errorf("JSON:\n%s", got)
	}
}

func TestTextRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"a,b\n1,2\n":                      `there is no column "a"; there are cpu, cpu-reserved`,
		"time\n1\n":                       "the table has no values",
		"in-flight\nx\n":                  `line 2: column "in-flight": "x" is no number`,
		"in-flight\n1\n-1\n":              `line 3: column "in-flight": "-1" is no number, 0 or above`,
		"in-flight\nNaN\n":                "is no number",
		"time,rate\nnoon,1\n":             `"noon" is neither RFC 3339`,
		"workload,rate\nshop,1\n":         `workload "shop": want KIND NAMESPACE/NAME`,
		"rate\n1,2\n":                     "wrong number of fields",
		`{"rate":"many"}`:                 `line 1: column "rate": "many" is no number`,
		`{"rate":1}` + "\n" + `{"rate":`:  "line 2: want a JSON object",
		`{"speed":1}`:                     `there is no column "speed"`,
		"{" + strings.Repeat(" ", 70_000): "token too long",
		"":                                "reading the names of the columns",
	} {
		err := Text(strings.NewReader(in))(func(signal.Workload, *signal.Facts) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want it to say %q", in, err, want)
		}
	}
}

func TestWithRefuses(t *testing.T) {
	for changes, want := range map[string]string{
		"target":      `"target": want KEY=VALUE`,
		"tarjet=5":    `there is no setting "tarjet"; there are capacity, cooldown`,
		"target=-1":   "want a number, 0 or above",
		"target=0":    "the target is missing",
		"max=1e9":     "want a number of pods",
		"min=9,max=3": "min 9 is above max 3",
		"long=2h":     "a window is at most",
		"start=soon":  "want a duration",
		"metric=x":    "want in-flight, rate, cpu, memory, lag or lag:TRIGGER",
	} {
		if _, err := Default(InFlight, 10).With(changes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", changes, err, want)
		}
	}
}

func TestRunOfARecording(t *testing.T) {
	path := filepath.Join(t.TempDir(), "day.signals")
	record(t, path, 20, 300)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(r, func(w signal.Workload) []Settings {
		if w.Name == "w-0" {
			return nil
		}
		return []Settings{Default(InFlight, 10)}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 19 || results[0].Workload.Name != "w-1" || results[0].Facts != 300 {
		t.Fatalf("%d results, first %+v", len(results), results[0].Workload)
	}
	total := Total(results)
	if len(total) != 1 || !near(total[0].Seconds, 19*299) {
		t.Errorf("total %+v", total)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// record writes a recording of a demand that changes each second.
func record(t testing.TB, path string, workloads, length int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := signal.NewWriter(f)
	facts := signal.Facts{Pods: 2, Ready: 2}
	for second := range length {
		facts.At = beginning.Add(time.Duration(second) * time.Second)
		for i := range workloads {
			facts.TrafficAt = facts.At
			facts.InFlight = math.Round(20 + 15*math.Sin(float64(second)/3000) + float64((second*7919+i*104729)%11))
			facts.Rate = facts.InFlight * 8
			if err := w.Add(signal.Workload{Kind: "Deployment", Namespace: "n", Name: fmt.Sprintf("w-%d", i)}, &facts); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSeriesIsBounded(t *testing.T) {
	var s Series
	for range 100_000 {
		s.add(1, 4, 1, 2)
	}
	s.close()
	if len(s.Demand) > mostBuckets || len(s.Demand) < mostBuckets/2 {
		t.Errorf("%d buckets of %g s", len(s.Demand), s.Width)
	}
	for i := range s.Demand {
		if !near(s.Demand[i], 4) || !near(s.Unserved[i], 1) || !near(s.Pods[i], 2) {
			t.Fatalf("bucket %d of %d holds %g, %g, %g", i, len(s.Demand), s.Demand[i], s.Unserved[i], s.Pods[i])
		}
	}
}

func TestSpark(t *testing.T) {
	for want, c := range map[string]struct {
		values []float64
		width  int
	}{
		"▁▅█":  {[]float64{1, 5, 10}, 10},
		" █":   {[]float64{0, 0, 0, 3}, 2},
		"":     {nil, 5},
		"    ": {[]float64{0, 0, 0, 0}, 4},
	} {
		if got := Spark(c.values, c.width); got != want {
			t.Errorf("%v: got %q, want %q", c.values, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{
		"in-flight\n1\n2\n", "time,workload,rate,lag:a\n0,Deployment a/b,1,2\n", `{"time":1,"rate":2}`, `{"cpu":1,"cpu-reserved":2,"pods":3}`,
		"time,cpu,cpu-reserved,pods\n0,1,2,3\n1e9,1,2,3\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		results, err := runTable(Text(strings.NewReader(s)), func(signal.Workload) []Settings {
			return []Settings{Default(InFlight, 10), Default(CPU, 50)}
		})
		if err != nil {
			return
		}
		for _, r := range results {
			for _, o := range r.Outcomes {
				if o.Unserved < 0 || o.PodSeconds < 0 || o.Waste() < -1e-9 || o.Waste() > 1+1e-9 || math.IsNaN(o.Demand) || o.Peak > mostPods {
					t.Errorf("%q: %+v", s, o)
				}
			}
		}
	})
}

func BenchmarkDay(b *testing.B) {
	path := filepath.Join(b.TempDir(), "day.signals")
	record(b, path, 1, 86_400)
	r, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(r, func(signal.Workload) []Settings { return []Settings{Default(InFlight, 10)} }); err != nil {
			b.Fatal(err)
		}
	}
}
