package advise

import (
	"math"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var web = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}

// course feeds an advisor with the cores used each second, of four pods that reserve half a core each.
func course(a *Advisor, w signal.Workload, use func(second int) float64, seconds int) {
	for i := range seconds {
		at := noon.Add(time.Duration(i) * time.Second)
		a.Add(w, &signal.Facts{
			At: at, UsageAt: at, CPU: use(i), CPUReserved: 2, Memory: 1 << 28, MemoryReserved: 1 << 30, Pods: 4, Ready: 4,
		})
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.02*math.Max(1, math.Abs(b)) }

func TestTarget(t *testing.T) {
	step := func(from, to float64) func(int) float64 {
		return func(i int) float64 {
			if i >= 300 {
				return to
			}
			return from
		}
	}
	for _, c := range []struct {
		name           string
		use            func(int) float64
		reaction       time.Duration
		target, enough float64
		rise           bool
	}{
		{"steady use needs no headroom", step(1, 1), 0, 0.9, 1 / 0.9, false},
		{"twice as much within the time needs half", step(0.8, 1.6), 0, 0.5, 2 * 1.2, true},
		{"a slow rise needs little", func(i int) float64 { return 1 + float64(i)/600 }, 0, 0.9, 1.5 / 0.9, false},
		{"the same rise is steep for a slow loop", func(i int) float64 { return 1 + float64(i)/600 }, 4 * time.Minute, 0.714, 1.5 / 0.714, true},
		{"what one pod bears does not count", step(0.01, 0.49), 0, 0.9, (0.5 + 0.49/0.9) / 2, false},
		{"a rise from rest takes two pods, whatever the target", step(0, 0.9), 0, 0.9, 1, false},
		{"a second's peak is smoothed", func(i int) float64 {
			if i == 300 {
				return 1.25
			}
			return 1
		}, 0, 0.9, 1 / 0.9, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(c.reaction)
			course(a, web, c.use, 600)
			got := a.Advice()[0]
			if !near(got.Target, c.target) || !near(got.Enough, c.enough) || (got.Rise != nil) != c.rise {
				t.Errorf("target %.3f, enough %.3f, rise %+v; want %.3f, %.3f, %v", got.Target, got.Enough, got.Rise, c.target, c.enough, c.rise)
			}
		})
	}
}

// TestTargetMeetsThePeaks carries the advice out: with pods for use/target a rise never exceeds what they reserve.
func TestTargetMeetsThePeaks(t *testing.T) {
	use := func(i int) float64 { return 1.5 + math.Sin(float64(i)/40) + 0.3*math.Sin(float64(i)/7) }
	a := New(20 * time.Second)
	course(a, web, use, 3600)
	target := a.Advice()[0].Target
	mean := func(i int) float64 { return (use(i) + use(i-1) + use(i-2) + use(i-3) + use(i-4)) / 5 }
	rested := -100
	for i := 10; i < 3500; i++ {
		if mean(i) < most*0.5 {
			rested = i
		}
		if i-rested <= 20 {
			continue
		}
		for ahead := range 20 {
			if mean(i+ahead) > max(mean(i)/target, 0.5)*1.0001 {
				t.Fatalf("at %d: %.3f cores in %d s, pods for %.3f", i, mean(i+ahead), ahead, mean(i)/target)
			}
		}
	}
	if target < 0.2 || target > 0.89 {
		t.Errorf("target %.2f says nothing", target)
	}
}

func TestSums(t *testing.T) {
	a := New(0)
	course(a, web, func(int) float64 { return 0.5 }, 101)
	idle := signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "idle"}
	course(a, idle, func(int) float64 { return 0 }, 101)
	a.Add(idle, &signal.Facts{At: noon, UsageAt: noon, CPU: 99, Pods: 1}) // older than the newest
	a.Add(web, &signal.Facts{At: noon.Add(time.Hour), CPU: 99, Pods: 1})  // use not known
	all := a.Advice()
	if len(all) != 2 || all[0].Workload != idle || all[0].Seconds != 100 {
		t.Fatalf("%+v", all)
	}
	if got := all[1]; got.CPU != (Resource{2, 0.5, 0.5}) || got.Memory.Utilization() != 0.25 || got.CPU.Utilization() != 0.25 {
		t.Errorf("web: %+v", got)
	}
	if !near(all[0].Spare(), 1.5) {
		t.Errorf("the idle one can spare %g", all[0].Spare())
	}
	cpu, memory, enough := Total(all)
	if cpu.Reserved != 4 || cpu.Used != 0.5 || memory.Reserved != 2<<30 || !near(enough, 0.5+0.556) {
		t.Errorf("total %+v %+v %g", cpu, memory, enough)
	}
}

func TestNothingReserved(t *testing.T) {
	a := New(0)
	for i := range 10 {
		at := noon.Add(time.Duration(i) * time.Second)
		a.Add(web, &signal.Facts{At: at, UsageAt: at, CPU: 1, Pods: 1})
	}
	if got := a.Advice()[0]; got.Target != 0 || got.CPU.Utilization() != 0 || got.Enough != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	a := New(time.Hour)
	course(a, web, func(i int) float64 { return 1 + float64(i%97)/50 + math.Sqrt(float64(i)) }, 50_000)
	h := a.workloads[web]
	if len(h.pending) > int(MaxReaction/time.Second)+2 || len(h.recent) > 6 || len(h.levels) > mostLevels {
		t.Errorf("%d rises, %d points, %d levels", len(h.pending), len(h.recent), len(h.levels))
	}
}
