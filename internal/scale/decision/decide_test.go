package decision

import (
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// inFlight is a workload that takes 10 requests in flight a pod, one to 20 pods.
func inFlight() *Settings {
	return &Settings{
		Min: 1, Max: 20, Cooldown: DefaultCooldown, MaxHold: DefaultMaxHold, Created: epoch,
		Up:      Rules{Tolerance: DefaultTolerance},
		Down:    Rules{Tolerance: DefaultTolerance, Stabilization: DefaultStabilization},
		Metrics: []Metric{{Name: "s0-requests", Trigger: "web", Unit: "requests in flight", Target: 10}},
	}
}

// run is a workload under virtual time: each step is one second, and each plan is carried out at once.
type run struct {
	t    *testing.T
	set  *Settings
	st   *State
	now  time.Time
	pods int32
	// facts changes what is known beside the readings.
	facts func(*Facts)
	plan  Plan
	ins   int
}

func start(t *testing.T, set *Settings, pods int32) *run {
	return &run{t: t, set: set, st: NewState(epoch, pods, time.Time{}), now: epoch, pods: pods}
}

// step decides once with a value for each metric; a negative one says that it cannot be read.
func (r *run) step(values ...float64) *run {
	r.t.Helper()
	r.now = r.now.Add(time.Second)
	f := Facts{Now: r.now, Replicas: r.pods, Pods: r.pods, Ready: r.pods}
	for _, v := range values {
		f.Readings = append(f.Readings, Reading{Value: v, Active: v > 0, At: r.now})
	}
	if r.facts != nil {
		r.facts(&f)
	}
	r.plan = Decide(r.set, r.st, &f)
	if again := Decide(r.set, r.st, &f); again.Replicas != r.plan.Replicas || again.Limit != r.plan.Limit {
		r.t.Fatalf("the same facts gave %+v, then %+v", r.plan, again)
	}
	if r.plan.Replicas < r.pods {
		r.ins++
	}
	if r.plan.Replicas != r.pods {
		r.st.Scaled(r.set, r.pods, r.plan.Replicas, r.now)
		r.pods = r.plan.Replicas
	}
	return r
}

func (r *run) steps(n int, values ...float64) *run {
	r.t.Helper()
	for range n {
		r.step(values...)
	}
	return r
}

func (r *run) want(pods int32, limit Limit) *run {
	r.t.Helper()
	if r.pods != pods || r.plan.Limit != limit {
		r.t.Fatalf("at %s: %d pods with limit %d, want %d with %d (%s)",
			r.now.Sub(epoch), r.pods, r.plan.Limit, pods, limit, r.plan.Reason(r.set))
	}
	return r
}

func TestFivefoldDemandIsOneStep(t *testing.T) {
	start(t, inFlight(), 2).steps(60, 20).want(2, LimitNone).step(100).want(10, LimitNone)
}

func TestScaleInWaitsForThePeriodAfterTheLastScaleUp(t *testing.T) {
	r := start(t, inFlight(), 2).step(100).want(10, LimitNone)
	r.steps(299, 20).want(10, LimitStableDown)
	if got, want := r.plan.Until, epoch.Add(301*time.Second); !got.Equal(want) {
		t.Errorf("until %s, want %s", got, want)
	}
	r.step(20).want(2, LimitNone)
}

func TestWindowsTellAPeakFromABlip(t *testing.T) {
	set := inFlight()
	set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	r := start(t, set, 2).steps(60, 20).step(100).want(2, LimitNone) // one second may be a blip
	r.step(20).want(2, LimitNone).steps(3, 20)
	r.step(100).step(100).want(10, LimitNone) // two are not
}

// TestARiseIsOneStep: the load rises fivefold within a second, of which the first reading shows a part. The base load is
// as high as may be without another pod, so that the mean alone would soon ask for one.
func TestARiseIsOneStep(t *testing.T) {
	for _, part := range []float64{0, 0.05, 0.3, 0.5, 0.9, 1} {
		for _, factor := range []float64{2, 5, 10} {
			set := inFlight()
			set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
			set.Max = 100
			r := start(t, set, 2).steps(60, 21.5)
			high := 20 * factor
			r.step(21.5 + part*(high-21.5))
			steps, until := 0, r.now.Add(3*time.Second)
			for range 15 {
				before := r.pods
				if r.step(high); r.pods == before {
					continue
				}
				if steps++; r.now.After(until) {
					t.Errorf("%g fold, %g of the first second: a step at %s", factor, part, r.now.Sub(epoch))
				}
			}
			// Within the tolerance it may be one pod less.
			if steps != 1 || float64(r.pods)*10*1.1 < high || float64(r.pods)*10 > high {
				t.Errorf("%g fold, %g of the first second: %d steps to %d pods, want one to %g", factor, part, steps, r.pods, high/10)
			}
		}
	}
}

// TestALongRiseIsFollowed: pods are added while the load goes on rising, two seconds late at most.
func TestALongRiseIsFollowed(t *testing.T) {
	set := inFlight()
	set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	set.Max = 1000
	r := start(t, set, 2).steps(60, 20)
	for i := range 60 {
		r.step(20 + 50*float64(i))
		if confirmed := 20 + 50*float64(i-4); float64(r.pods)*10*1.1 < confirmed {
			t.Fatalf("%d s into the rise: %d pods, want what %g takes", i, r.pods, confirmed)
		}
	}
}

// TestNoiseAddsNoMoreThanItConfirms: no number of pods is above what a whole short window, or the mean, once asked for.
func TestNoiseAddsNoMoreThanItConfirms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	set := inFlight()
	set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	r := start(t, set, 2).steps(60, 20)
	last, sum, most := 20.0, 0.0, 20.0
	var all []float64
	for range 3600 {
		now := 15 * random.ExpFloat64() // of a heavy tail: one second in a hundred shows 70
		all = append(all, now)
		if len(all) > 60 {
			sum = 0
			for _, v := range all[len(all)-60:] {
				sum += v
			}
			most = max(most, sum/60)
		}
		most = max(most, min(last, now))
		last = now
		if r.step(now); float64(r.pods-1)*10 >= most {
			t.Fatalf("%d pods, where no two seconds showed more than %g", r.pods, most)
		}
	}
}

// TestBelowTheBoundsIsNoFailureToRead: a new workload is brought to its lowest number before anything was read.
func TestBelowTheBoundsIsNoFailureToRead(t *testing.T) {
	set := inFlight()
	set.Min = 2
	r := start(t, set, 1)
	r.facts = func(f *Facts) { f.Readings[0] = Reading{} }
	r.step(0).want(2, LimitMin)
	if got, want := r.plan.Reason(set), "nothing is known of the demand; at least 2"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
}

func TestUnevenDemandCountsInTheMean(t *testing.T) {
	set := inFlight()
	set.Metrics[0].Short, set.Metrics[0].Long = 2*time.Second, time.Minute
	r := start(t, set, 1)
	for range 60 {
		r.step(0).step(100)
	}
	r.want(5, LimitNone)
}

func TestBounds(t *testing.T) {
	start(t, inFlight(), 2).step(10_000).want(20, LimitMax)
	start(t, inFlight(), 30).step(10_000).want(20, LimitMax)
	start(t, inFlight(), 0).step(0).want(1, LimitMin)
	set := inFlight()
	set.Min = 3
	start(t, set, 3).steps(300, 0).want(3, LimitMin)
}

func TestTolerance(t *testing.T) {
	start(t, inFlight(), 10).step(110).want(10, LimitNone).step(111).want(12, LimitNone)
}

func TestZero(t *testing.T) {
	set := inFlight()
	set.Min = 0
	r := start(t, set, 0).step(0).want(0, LimitNone).step(1).want(1, LimitNone).step(45).want(5, LimitNone)
	r.steps(299, 0).want(5, LimitStableDown)
	r.steps(2, 0).want(0, LimitNone)
	r.step(45).want(5, LimitNone) // from zero to the demand in one step
}

func TestCooldownIsShorterThanTheWindow(t *testing.T) {
	set := inFlight()
	set.Min, set.Cooldown = 0, 10*time.Second
	start(t, set, 1).step(45).want(5, LimitNone).steps(9, 0).want(5, LimitCooldown).step(0).want(0, LimitNone)
}

func TestInitialCooldown(t *testing.T) {
	set := inFlight()
	set.Min, set.InitialCooldown = 0, 20*time.Second
	start(t, set, 3).steps(19, 0).want(3, LimitCooldown).step(0).want(0, LimitNone)
}

func TestIdle(t *testing.T) {
	set := inFlight()
	set.Min, set.Idle, set.Cooldown = 4, new(int32(1)), 10*time.Second
	start(t, set, 1).step(0).want(1, LimitNone).step(5).want(4, LimitMin).steps(9, 0).want(4, LimitCooldown).steps(2, 0).want(1, LimitNone)
}

func TestHeldRequestWakes(t *testing.T) {
	set := inFlight()
	set.Min = 0
	r := start(t, set, 0)
	r.facts = func(f *Facts) { f.Held = true }
	r.step(0).want(1, LimitNone)
	if r.plan.Metric != FromHeldRequest {
		t.Errorf("the reason is %q", r.plan.Reason(set))
	}
}

func TestKinds(t *testing.T) {
	for name, c := range map[string]struct {
		metric Metric
		facts  Facts
		value  float64
		want   int32
	}{
		"value":                            {Metric{Kind: Whole, Target: 10}, Facts{Replicas: 4, Ready: 4}, 20, 8},
		"value counts ready pods":          {Metric{Kind: Whole, Target: 10}, Facts{Replicas: 4, Ready: 3}, 20, 6},
		"value, no pod ready":              {Metric{Kind: Whole, Target: 10}, Facts{Replicas: 4}, 20, 4},
		"value from zero":                  {Metric{Kind: Whole, Target: 10}, Facts{}, 25, 3},
		"utilization":                      {Metric{Kind: Utilization, Target: 50, Resource: true}, Facts{Replicas: 4, Pods: 4}, 100, 8},
		"utilization within the tolerance": {Metric{Kind: Utilization, Target: 50, Resource: true}, Facts{Replicas: 4, Pods: 4}, 54, 4},
		"utilization of too few pods":      {Metric{Kind: Utilization, Target: 50, Resource: true}, Facts{Replicas: 8, Pods: 2}, 100, 8},
		"average value":                    {Metric{Target: 0.5}, Facts{Replicas: 1}, 2, 4},
		"rounding is no pod":               {Metric{Target: 1.1}, Facts{Replicas: 1}, 3.3000000000000003, 3},
		"more than there are numbers":      {Metric{Target: 1e-9}, Facts{Replicas: 1}, 1e300, 20},
	} {
		t.Run(name, func(t *testing.T) {
			set := inFlight()
			set.Metrics = []Metric{c.metric}
			c.facts.Now = epoch
			c.facts.Readings = []Reading{{Value: c.value, Active: true, At: epoch}}
			if got := Decide(set, NewState(epoch, c.facts.Replicas, time.Time{}), &c.facts); got.Replicas != c.want {
				t.Errorf("%d pods, want %d: %s", got.Replicas, c.want, got.Reason(set))
			}
		})
	}
}

func TestHighestMetricCounts(t *testing.T) {
	set := inFlight()
	set.Metrics = append(set.Metrics, Metric{Name: "s1-queue", Target: 5})
	r := start(t, set, 1).step(20, 30).want(6, LimitNone)
	if r.plan.Metric != 1 {
		t.Errorf("metric %d counts, want 1", r.plan.Metric)
	}
}

// Each line is behavior.scaleUp of a workload with 10 pods that wants 20, and how many it has after each 15 s.
func TestPoliciesAddAsTheHPADoes(t *testing.T) {
	for name, c := range map[string]struct {
		rules Rules
		want  []int32
	}{
		"pods":             {Rules{Policies: []Policy{{Value: 4, Period: 15 * time.Second}}}, []int32{14, 18, 20}},
		"percent":          {Rules{Policies: []Policy{{Percent: true, Value: 25, Period: 15 * time.Second}}}, []int32{13, 17, 20}},
		"highest":          {Rules{Policies: []Policy{{Value: 1, Period: 15 * time.Second}, {Percent: true, Value: 50, Period: 15 * time.Second}}}, []int32{15, 20, 20}},
		"lowest":           {Rules{Select: SelectMin, Policies: []Policy{{Value: 1, Period: 15 * time.Second}, {Percent: true, Value: 50, Period: 15 * time.Second}}}, []int32{11, 12, 13}},
		"disabled":         {Rules{Select: SelectDisabled}, []int32{10, 10, 10}},
		"longer period":    {Rules{Policies: []Policy{{Value: 4, Period: 30 * time.Second}}}, []int32{14, 14, 18}},
		"no policy at all": {Rules{}, []int32{20, 20, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			set := inFlight()
			set.Up = c.rules
			set.Up.Tolerance = DefaultTolerance
			r := start(t, set, 10)
			var got []int32
			for range c.want {
				r.step(200)
				got = append(got, r.pods)
				r.steps(14, 200)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("%v, want %v", got, c.want)
				}
			}
		})
	}
}

func TestPoliciesTakeAwayAsTheHPADoes(t *testing.T) {
	set := inFlight()
	set.Down = Rules{Tolerance: DefaultTolerance, Policies: []Policy{{Percent: true, Value: 50, Period: 60 * time.Second}}}
	r := start(t, set, 20).step(10).want(10, LimitRateDown)
	if r.plan.Until.IsZero() == false {
		t.Errorf("until %s before a change was made", r.plan.Until)
	}
	r.steps(59, 10).want(10, LimitRateDown)
	r.step(10).want(5, LimitRateDown)
}

func TestUpStabilisationTakesTheLowest(t *testing.T) {
	set := inFlight()
	set.Up.Stabilization = 10 * time.Second
	r := start(t, set, 2).steps(5, 20).steps(5, 50).want(2, LimitStableUp)
	r.steps(4, 100).want(2, LimitStableUp).step(100).want(5, LimitStableUp)
}

func TestSourceThatIsDownTakesNothingAway(t *testing.T) {
	set := inFlight()
	set.Down.Stabilization = 0
	var since time.Time
	r := start(t, set, 5).step(50)
	r.facts = func(f *Facts) {
		f.Readings[0].At, f.Readings[0].FailingSince = epoch.Add(time.Second), since
	}
	since = r.now
	r.step(10).want(5, LimitUnread).steps(3600, 10).want(5, LimitUnread)
	if !r.plan.Unread {
		t.Error("the plan does not say that a source cannot be read")
	}
}

func TestFallback(t *testing.T) {
	for name, c := range map[string]struct {
		behavior FallbackBehavior
		pods     int32
		want     int32
	}{
		"static":            {Static, 5, 8},
		"current":           {Current, 5, 5},
		"higher, is lower":  {CurrentIfHigher, 5, 8},
		"higher, is higher": {CurrentIfHigher, 12, 12},
		"lower, is lower":   {CurrentIfLower, 5, 5},
		"from zero":         {Static, 0, 8},
	} {
		t.Run(name, func(t *testing.T) {
			set := inFlight()
			set.Min = 0
			set.Fallback = &Fallback{Threshold: 3, Replicas: 8, Behavior: c.behavior}
			r := start(t, set, c.pods)
			r.facts = func(f *Facts) {
				f.Readings[0] = Reading{FailingSince: epoch.Add(time.Second)}
			}
			r.steps(45, 0)
			if r.plan.Fallback || r.pods != c.pods {
				t.Fatalf("%d pods after 45 s, fallback %t", r.pods, r.plan.Fallback)
			}
			r.step(0)
			if !r.plan.Fallback || r.pods != c.want {
				t.Fatalf("%d pods, want %d, fallback %t: %s", r.pods, c.want, r.plan.Fallback, r.plan.Reason(set))
			}
		})
	}
}

func TestPauses(t *testing.T) {
	set := inFlight()
	set.Down.Stabilization = 0
	for name, c := range map[string]struct {
		pause Pause
		value float64
		want  int32
		limit Limit
	}{
		"all":        {Pause{All: true}, 100, 5, LimitPaused},
		"replicas":   {Pause{Replicas: new(int32(0))}, 100, 0, LimitPaused},
		"in":         {Pause{In: true}, 10, 5, LimitPausedIn},
		"in, adding": {Pause{In: true}, 100, 10, LimitNone},
		"out":        {Pause{Out: true}, 100, 5, LimitPausedOut},
	} {
		t.Run(name, func(t *testing.T) {
			paused := *set
			paused.Pause = c.pause
			start(t, &paused, 5).step(c.value).want(c.want, c.limit)
		})
	}
}

func TestFailingCallerHolds(t *testing.T) {
	set := inFlight()
	r := start(t, set, 5).steps(301, 50)
	failing := &Failing{Caller: "Deployment shop/storefront", Why: "has no pod that is ready"}
	r.facts = func(f *Facts) { f.CallersKnown, f.Failing = true, failing }
	r.steps(600, 0).want(5, LimitHold)
	if want := epoch.Add(302*time.Second + DefaultMaxHold); !r.plan.Until.Equal(want) {
		t.Errorf("held until %s, want %s", r.plan.Until, want)
	}
	failing = nil // the caller is back: its demand may be
	r.step(0).want(5, LimitStableDown).steps(298, 0).want(5, LimitStableDown).steps(2, 0).want(1, LimitMin)
}

func TestHoldIsBounded(t *testing.T) {
	set := inFlight()
	set.MaxHold, set.Down.Stabilization = 10*time.Second, 0
	r := start(t, set, 5).step(50)
	r.facts = func(f *Facts) { f.CallersKnown, f.Failing = true, &Failing{Caller: "a", Why: "fails"} }
	r.steps(10, 0).want(5, LimitHold).step(0).want(1, LimitMin)
}

func TestFormula(t *testing.T) {
	for name, c := range map[string]struct {
		text       string
		activation float64
		values     []float64
		want       int32
		active     bool
	}{
		"sum":                 {"web + queue", 0, []float64{20, 30}, 5, true},
		"condition":           {"web > 10 ? 70 : 10", 0, []float64{20, 0}, 7, true},
		"below activation":    {"web + queue", 60, []float64{20, 30}, 5, false},
		"function of the lot": {"max([web, queue])", 0, []float64{20, 30}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			set := inFlight()
			set.Metrics = append(set.Metrics, Metric{Name: "s1-queue", Trigger: "queue"})
			f, err := CompileFormula(c.text, []string{"web", "queue"}, PerPod, 10, c.activation)
			if err != nil {
				t.Fatal(err)
			}
			set.Formula = f
			r := start(t, set, 1).step(c.values...)
			if r.pods != c.want || r.plan.Active != c.active {
				t.Errorf("%d pods, active %t, want %d, %t: %v", r.pods, r.plan.Active, c.want, c.active, r.plan.FormulaError)
			}
		})
	}
}

func TestFormulaWithoutAValue(t *testing.T) {
	set := inFlight()
	set.Min = 0
	set.Fallback = &Fallback{Replicas: 4, Behavior: InFormula}
	f, err := CompileFormula("web ?? nil", []string{"web"}, PerPod, 10, 0)
	if err != nil {
		t.Fatal(err)
	}
	set.Formula = f
	r := start(t, set, 1)
	r.facts = func(f *Facts) { f.Readings[0].FailingSince = epoch }
	r.step(20).want(4, LimitNone)
	if !r.plan.Fallback {
		t.Error("the plan does not say that the fallback counts")
	}
}

func TestFormulasThatAreRefused(t *testing.T) {
	for _, text := range []string{"", "nobody", "web +", "'a'", "map(1..100000, {map(1..100000, {#})})"} {
		if _, err := CompileFormula(text, []string{"web"}, PerPod, 1, 0); err == nil {
			t.Errorf("formula %q was taken", text)
		}
	}
}

func TestNextIsWhenTheLimitEnds(t *testing.T) {
	set := inFlight()
	set.Min = 0
	r := start(t, set, 0).step(50).step(0)
	if want := epoch.Add(301 * time.Second); !r.plan.Next.Equal(want) {
		t.Errorf("next at %s, want %s", r.plan.Next, want)
	}
}

// TestUtilizationOfFormerPodsIsNoDemand: two cores on pods of half a core at 50 % are 8 pods, however many there were.
func TestUtilizationOfFormerPodsIsNoDemand(t *testing.T) {
	set := inFlight()
	set.Metrics[0] = Metric{Name: "cpu", Kind: Utilization, Target: 50, Resource: true, Short: 5 * time.Second, Long: 30 * time.Second}
	r := start(t, set, 4).steps(60, 25)
	for range 120 {
		r.step(100 * 2 / (0.5 * float64(r.pods)))
	}
	r.want(8, LimitNone)
}
