package decision

import (
	"math/rand/v2"
	"testing"
	"time"
)

// world is a random object and its demand.
type world struct {
	set *Settings
	rng *rand.Rand
}

func newWorld(seed uint64) world {
	rng := rand.New(rand.NewPCG(seed, 1))
	set := inFlight()
	set.Min = rng.Int32N(4)
	set.Max = set.Min + 1 + rng.Int32N(30)
	if set.Min > 1 && rng.IntN(2) == 0 {
		set.Idle = new(rng.Int32N(set.Min))
	}
	set.Cooldown = time.Duration(rng.IntN(60)) * time.Second
	set.Down.Stabilization = time.Duration(rng.IntN(60)) * time.Second
	if rng.IntN(2) == 0 {
		set.Up.Stabilization = time.Duration(rng.IntN(20)) * time.Second
	}
	for range rng.IntN(3) {
		set.Up.Policies = append(set.Up.Policies, Policy{rng.IntN(2) == 0, 1 + rng.Int32N(100), time.Duration(1+rng.IntN(30)) * time.Second})
		set.Down.Policies = append(set.Down.Policies, Policy{rng.IntN(2) == 0, 1 + rng.Int32N(100), time.Duration(1+rng.IntN(30)) * time.Second})
	}
	if rng.IntN(3) == 0 {
		set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	}
	return world{set, rng}
}

func TestBoundsAreNeverViolated(t *testing.T) {
	for seed := range uint64(300) {
		w := newWorld(seed)
		r := start(t, w.set, w.rng.Int32N(50))
		value := 0.0
		for range 400 {
			if w.rng.IntN(20) == 0 {
				value = float64(w.rng.IntN(600))
			}
			before := r.pods
			r.step(value)
			low := w.set.Min
			if w.set.Idle != nil {
				low = *w.set.Idle
			}
			if r.pods != before && (r.pods > max(w.set.Max, 1) || r.pods < low) {
				t.Fatalf("seed %d: %d pods, bounds are %d and %d", seed, r.pods, low, w.set.Max)
			}
		}
	}
}

func TestMoreDemandNeverAsksForFewerPods(t *testing.T) {
	for seed := range uint64(300) {
		w := newWorld(seed)
		w.set.Metrics[0].Kind = Kind(w.rng.IntN(3))
		pods := 1 + w.rng.Int32N(30)
		last := int32(0)
		for value := 0.0; value < 500; value += 1 + 5*w.rng.Float64() {
			f := Facts{Now: epoch, Replicas: pods, Pods: pods, Ready: pods, Readings: []Reading{{Value: value, Active: true, At: epoch}}}
			got := Decide(w.set, NewState(epoch.Add(-time.Hour), pods, time.Time{}), &f).Wanted
			if got < last {
				t.Fatalf("seed %d: %f asks for %d pods, less demand for %d", seed, value, got, last)
			}
			last = got
		}
	}
}

// Demand that swings faster than the stabilisation period takes nothing away.
func TestNoFlapping(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := start(t, inFlight(), 1)
		for range 2000 {
			r.step(float64(rng.IntN(190)))
			if rng.IntN(100) == 0 {
				r.step(190)
			}
		}
		for range 30 {
			r.step(190).steps(1+rng.IntN(298), 5)
		}
		if r.ins > 0 {
			t.Fatalf("seed %d: pods were taken away %d times", seed, r.ins)
		}
	}
}

func TestExtremeIsThatOfTheWindow(t *testing.T) {
	for _, lowest := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 3))
		e := extreme{lowest: lowest}
		var all []recommendation
		for at := moment(1); at < 3000; at++ {
			r := recommendation{at, rng.Int32N(20)}
			all = append(all, r)
			want := r.pods
			for _, old := range all {
				if old.at > at-50 && (lowest && old.pods < want || !lowest && old.pods > want) {
					want = old.pods
				}
			}
			if got := e.add(r, at-50); got.pods != want {
				t.Fatalf("at %d: %d, want %d", at, got.pods, want)
			}
		}
		if len(e.queue) > 200 {
			t.Errorf("the queue grew to %d", len(e.queue))
		}
	}
}

// FuzzDecide feeds whatever numbers a source may give.
func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), 10.0, int32(3), int32(3), int64(5))
	f.Add(uint64(7), -1.0, int32(0), int32(-4), int64(-5))
	f.Fuzz(func(t *testing.T, seed uint64, value float64, pods, ready int32, ahead int64) {
		w := newWorld(seed)
		pods = max(pods, 0)
		w.set.Metrics[0].Kind = Kind(seed % 3)
		st := NewState(epoch, pods, time.Time{})
		for i := range 5 {
			at := epoch.Add(time.Duration(ahead % int64(time.Hour) * int64(i)))
			facts := Facts{Now: at, Replicas: pods, Pods: ready, Ready: ready, Readings: []Reading{{Value: value, Active: value > 0, At: at}}}
			plan := Decide(w.set, st, &facts)
			if plan.Replicas < 0 || plan.Replicas > max(pods, w.set.Max, 1) {
				t.Fatalf("%d pods", plan.Replicas)
			}
			if plan.Reason(w.set) == "" {
				t.Fatal("no reason")
			}
		}
	})
}

func FuzzFormula(f *testing.F) {
	for _, text := range []string{"a + b", "a > 1 ? 2 : b", "max([a, b]) ?? 3", "sum(1..9)", "let x = a; x * x", "a ?? nil"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		formula, err := CompileFormula(text, []string{"a", "b"}, PerPod, 1, 0)
		if err != nil {
			return
		}
		if _, _, err := formula.eval(map[string]any{"a": 1.5, "b": nil}); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	set := inFlight()
	set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	st := NewState(epoch, 5, time.Time{})
	f := Facts{Replicas: 5, Pods: 5, Ready: 5, Readings: make([]Reading, 1)}
	now := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Second)
		f.Now = now
		f.Readings[0] = Reading{Value: float64(40 + i%10), Active: true, At: now}
		plan := Decide(set, st, &f)
		if plan.Replicas != f.Replicas {
			st.Scaled(set, f.Replicas, plan.Replicas, now)
			f.Replicas = plan.Replicas
		}
	}
}
