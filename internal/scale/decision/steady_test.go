package decision

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// TestSteadyIsDecide runs random objects through random demand twice, with the short way and without: the pods, the times
// to look again and all that is remembered are the same at every step.
func TestSteadyIsDecide(t *testing.T) {
	short := 0
	for seed := range uint64(80) {
		w := newWorld(seed)
		w.set.Metrics[0].Kind = Kind(w.rng.IntN(3))
		w.set.Metrics[0].Resource = w.rng.IntN(4) == 0
		w.set.Pause.In = w.rng.IntN(10) == 0
		pods := w.rng.Int32N(20)
		with := course{set: w.set, st: NewState(epoch, pods, time.Time{}), pods: pods, steady: true}
		without := course{set: w.set, st: NewState(epoch, pods, time.Time{}), pods: pods}
		for f := range facts(w.rng, 600) {
			got, want := with.step(f), without.step(f)
			if got != want {
				t.Fatalf("seed %d at %s: %+v the short way, else %+v", seed, f.Now, got, want)
			}
			if a, b := remembered(with.st), remembered(without.st); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d at %s: the short way remembers %+v, else %+v", seed, f.Now, a, b)
			}
		}
		short += with.short
	}
	if short < 2_000 {
		t.Errorf("the short way was taken %d times, want it to be usual", short)
	}
}

// course is a workload that decisions are carried out on.
type course struct {
	set    *Settings
	st     *State
	pods   int32
	steady bool
	short  int
}

// answer is what counts of a plan.
type answer struct {
	replicas int32
	next     time.Time
	limit    Limit
}

func (c *course) step(f Facts) answer {
	f.Replicas, f.Pods, f.Ready = c.pods, c.pods, c.pods
	f.Held = f.Held && c.pods == 0
	if c.steady && Steady(c.set, c.st, &f) {
		c.short++
		return answer{replicas: c.pods}
	}
	p := Decide(c.set, c.st, &f)
	if p.Replicas != c.pods {
		c.st.Scaled(c.set, c.pods, p.Replicas, f.Now)
		c.pods = p.Replicas
	}
	return answer{p.Replicas, p.Next, p.Limit}
}

// facts are those of so many seconds, most of which are calm; now and then a source fails or a caller does.
func facts(rng *rand.Rand, seconds int) func(yield func(Facts) bool) {
	return func(yield func(Facts) bool) {
		level := 50.0
		for i := range seconds {
			if rng.IntN(60) == 0 {
				level = float64(rng.IntN(4)) * 60
			}
			now := epoch.Add(time.Duration(i) * time.Second)
			r := Reading{Value: level * (1 + rng.Float64()/20), At: now}
			r.Active = r.Value > 0
			f := Facts{Now: now, Held: rng.IntN(30) == 0, CallersKnown: rng.IntN(2) == 0}
			switch rng.IntN(50) {
			case 0:
				r.FailingSince = now
			case 1:
				r.At = time.Time{}
			case 2:
				f.CallersKnown, f.Failing = true, &Failing{Caller: "Deployment shop/storefront", Why: "has no pod that is ready"}
			}
			f.Readings = []Reading{r}
			if !yield(f) {
				return
			}
		}
	}
}

// remembered is what decisions to come depend on.
func remembered(st *State) any {
	type state struct {
		active, up      time.Time
		window          []sample
		sums            []float64
		lowest, highest []recommendation
		ups, downs      changes
		since           moment
		caller          string
	}
	s := state{
		active: st.LastActive, up: st.LastUp, lowest: st.lowest.queue[st.lowest.first:], highest: st.highest.queue[st.highest.first:],
		ups: st.ups, downs: st.downs, since: st.heldSince, caller: st.heldCaller,
	}
	for i := range st.windows {
		for n := range st.windows[i].count {
			s.window = append(s.window, st.windows[i].at(n))
		}
		s.sums = append(s.sums, st.windows[i].sum)
	}
	return s
}
