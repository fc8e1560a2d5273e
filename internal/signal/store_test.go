package signal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/types"
)

var (
	shop     = types.NamespacedName{Namespace: "shop", Name: "storefront"}
	workload = Workload{Kind: "Deployment", Namespace: "shop", Name: "storefront"}
	canary   = Workload{Kind: "Deployment", Namespace: "shop", Name: "storefront-canary"}
	oneToOne = FixedTopology{
		Services:  map[types.NamespacedName][]Backend{shop: {{Workload: workload, Share: 1}}},
		Workloads: map[Workload]Replicas{workload: {Desired: 3, Pods: 3, Ready: 2, CPUReserved: 1.5, MemoryReserved: 1 << 30}},
	}
)

// plane is a data plane whose counters a test moves.
type plane struct {
	mu  sync.Mutex
	all []Traffic
}

func (p *plane) Traffic() []Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

func (p *plane) set(all ...Traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = all
}

// counted is a backend's counters after so many requests that took d.
func counted(requests, errors uint64, d time.Duration) Traffic {
	t := Traffic{Service: shop, Port: 80, Requests: requests, Errors: errors}
	for range requests {
		t.Latency.Observe(d)
	}
	return t
}

func TestRatesAreDifferencesOfCountersPerSecond(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		readings     []Traffic
		rate, errors float64
		latencies    uint64
	}{
		"the first reading says nothing of the last second": {[]Traffic{counted(500, 5, time.Second)}, 0, 0, 0},
		"the difference counts":                             {[]Traffic{counted(500, 5, time.Second), counted(530, 8, time.Second)}, 30, 3, 30},
		"a data plane that began anew counts from zero":     {[]Traffic{counted(500, 5, time.Second), counted(20, 1, time.Second)}, 20, 1, 20},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := New(Config{Topology: oneToOne}), &plane{}
			s.AddTraffic(p)
			for i, r := range c.readings {
				p.set(r)
				s.Tick(t.Context(), begin.Add(time.Duration(i)*time.Second))
			}
			f, ok := s.Facts(workload)
			if !ok {
				t.Fatal("nothing is known of the workload")
			}
			if f.Rate != c.rate || f.ErrorRate != c.errors || f.Latency.Count() != c.latencies {
				t.Errorf("rate %v, errors %v, %d latencies; want %v, %v, %d", f.Rate, f.ErrorRate, f.Latency.Count(), c.rate, c.errors, c.latencies)
			}
			if f.Desired != 3 || f.Pods != 3 || f.Ready != 2 || f.CPUReserved != 1.5 {
				t.Errorf("replicas are not those of the topology: %+v", f)
			}
		})
	}
}

func TestABackendThatIsNewHasCountedFromZero(t *testing.T) {
	s, p := New(Config{Topology: oneToOne}), &plane{}
	s.AddTraffic(p)
	begin := time.Unix(1_800_000_000, 0)
	s.Tick(t.Context(), begin)
	p.set(counted(10, 0, time.Millisecond))
	s.Tick(t.Context(), begin.Add(2*time.Second))
	if f, _ := s.Facts(workload); f.Rate != 5 {
		t.Errorf("rate is %v, want 5: ten requests in two seconds", f.Rate)
	}
}

func TestTrafficIsSharedAmongTheWorkloadsOfAService(t *testing.T) {
	s, p := New(Config{Topology: FixedTopology{
		Services: map[types.NamespacedName][]Backend{shop: {{workload, .75}, {canary, .25}}},
	}}), &plane{}
	s.AddTraffic(p)
	p.set(Traffic{Service: shop, InFlight: 8, Held: 4})
	s.Tick(t.Context(), time.Unix(1_800_000_000, 0))
	a, _ := s.Facts(workload)
	b, _ := s.Facts(canary)
	if a.InFlight != 6 || b.InFlight != 2 || a.Held != 3 || b.Held != 1 {
		t.Errorf("in flight %v and %v, held %v and %v; want 6, 2, 3, 1", a.InFlight, b.InFlight, a.Held, b.Held)
	}
}

func TestHistoryIsFineForFiveMinutesAndCoarseForAnHour(t *testing.T) {
	s, p := New(Config{Topology: oneToOne}), &plane{}
	s.AddTraffic(p)
	begin := time.Unix(1_800_000_000, 0)
	for i := range 7200 {
		p.set(counted(uint64(i), 0, 3*time.Millisecond))
		s.Tick(t.Context(), begin.Add(time.Duration(i)*time.Second))
	}
	last := begin.Add(7199 * time.Second)
	all := s.History(workload, time.Time{})
	fine := s.History(workload, last.Add(-299*time.Second))
	if len(fine) != 300 || len(all) <= 300 || len(all) > 660 {
		t.Fatalf("%d fine facts of %d in all", len(fine), len(all))
	}
	if !all[len(all)-1].At.Equal(last) || last.Sub(all[0].At) < 55*time.Minute {
		t.Errorf("history is from %v to %v", all[0].At, all[len(all)-1].At)
	}
	for i, f := range all {
		if i > 0 && !f.At.After(all[i-1].At) {
			t.Fatalf("facts %d at %v come after %v", i, f.At, all[i-1].At)
		}
		if f.Rate != 1 {
			t.Fatalf("the rate at %v is %v, want 1", f.At, f.Rate)
		}
	}
	if n := all[0].Latency.Count(); n != 10 {
		t.Errorf("coarse facts hold %d latencies, want those of ten seconds", n)
	}
	if unsafe.Sizeof(point{}) != pointBytes || unsafe.Sizeof(packed{}) != latencyBytes || unsafe.Sizeof(lagPoint{}) != lagBytes {
		t.Error("the sizes that the bound is computed from are not those of the structures")
	}
	if got := s.series[workload].bytes(); got > BytesPerWorkload {
		t.Errorf("a workload takes %d bytes, more than the %d promised", got, BytesPerWorkload)
	}
}

func TestTicksComeEachSecondAndAHeldRequestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := New(Config{Topology: oneToOne})
		events := s.Subscribe(ctx)
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for i := range 3 {
			e := <-events
			if (e.Held != types.NamespacedName{}) || e.At.Nanosecond() != 0 {
				t.Fatalf("event %d is %+v, want a tick on the second", i, e)
			}
			if f, _ := s.Facts(workload); !f.At.Equal(e.At) {
				t.Fatalf("the facts at the tick of %v are of %v", e.At, f.At)
			}
		}
		before := time.Now()
		s.Held(shop)
		if e := <-events; e.Held != shop || time.Since(before) != 0 {
			t.Errorf("got %+v after %v, want the held request at once", e, time.Since(before))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for range events {
		}
	})
}

func TestALateReaderLosesTicksNotHeldRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events := s.Subscribe(ctx)
		for i := range 100 {
			s.Tick(ctx, time.Now())
			s.Held(types.NamespacedName{Namespace: "shop", Name: fmt.Sprint(i % 50)})
		}
		synctest.Wait()
		held := map[types.NamespacedName]int{}
		ticks := 0
		for range 52 {
			select {
			case e := <-events:
				if (e.Held == types.NamespacedName{}) {
					ticks++
				} else {
					held[e.Held]++
				}
			case <-time.After(time.Second):
			}
		}
		if len(held) != 50 {
			t.Errorf("%d of 50 Services with held requests arrived", len(held))
		}
		if ticks == 0 || ticks > 2 {
			t.Errorf("%d ticks arrived, want one or two of 100", ticks)
		}
	})
}

// countingUsage counts how often it is asked.
type countingUsage struct{ asked int }

func (u *countingUsage) Usage(context.Context) map[Workload]Usage { u.asked++; return nil }

type nowhere struct{}

func (nowhere) Record(time.Time, []Recorded) {}

func TestNothingIsGatheredForNobody(t *testing.T) {
	for name, c := range map[string]struct {
		recorder Recorder
		want     int
	}{
		"without a recording":                      {nil, 0},
		"a recording looks once every ten seconds": {nowhere{}, 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &countingUsage{}
				s := New(Config{Usage: u, Recorder: c.recorder})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if u.asked != c.want {
					t.Errorf("usage was read %d times in ten minutes, want %d", u.asked, c.want)
				}
			})
		})
	}
}

func TestAQuestionKeepsThePaceForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &countingUsage{}
		s := New(Config{Usage: u})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		s.Facts(workload)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if u.asked < 59 || u.asked > 60 {
			t.Errorf("usage was read %d times, want once a second for a minute", u.asked)
		}
	})
}

func TestManyQuestionsAtOnceGatherOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &countingUsage{}
		s := New(Config{Usage: u})
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() { s.Refresh(t.Context()) })
		}
		asking.Wait()
		if u.asked != 1 {
			t.Errorf("usage was read %d times", u.asked)
		}
		time.Sleep(2 * time.Second)
		s.Refresh(t.Context())
		if u.asked != 2 {
			t.Errorf("two seconds later usage was read %d times in all, want 2", u.asked)
		}
	})
}

func TestLagsAreKeptWithTheTimeTheyWereRead(t *testing.T) {
	s := New(Config{})
	begin := time.Unix(1_800_000_000, 0)
	for i := range 400 {
		now := begin.Add(time.Duration(i) * time.Second)
		s.SetLag(workload, "orders", float64(i), now.Add(-250*time.Millisecond))
		s.Tick(t.Context(), now)
	}
	f, ok := s.Facts(workload)
	lag, told := f.Lag("orders")
	if !ok || !told || lag.Value != 399 || f.At.Sub(lag.At) != 250*time.Millisecond {
		t.Fatalf("facts %v, lag %+v", ok, lag)
	}
	for _, f := range s.History(workload, begin) {
		lag, told := f.Lag("orders")
		if want := f.At.Sub(begin).Seconds(); !told || lag.Value != want || f.At.Sub(lag.At) != 250*time.Millisecond {
			t.Fatalf("at %v the lag is %+v, want %v", f.At, lag, want)
		}
	}
}

func TestTriggersOfAWorkloadAreBounded(t *testing.T) {
	s := New(Config{})
	now := time.Unix(1_800_000_000, 0)
	for i := range 1000 {
		s.SetLag(workload, fmt.Sprint(i), 1, now.Add(time.Duration(i)*time.Millisecond))
		s.Tick(t.Context(), now.Add(time.Duration(i)*time.Millisecond))
	}
	f, _ := s.Facts(workload)
	if len(f.Lags) != maxTriggers {
		t.Errorf("%d lags are kept, want %d", len(f.Lags), maxTriggers)
	}
	if _, ok := f.Lag("999"); !ok {
		t.Error("the trigger told last is not among them")
	}
	if got, most := s.series[workload].bytes(), BytesPerWorkload+maxTriggers*BytesPerTrigger; got > most {
		t.Errorf("a workload takes %d bytes, more than %d", got, most)
	}
}

func TestAWorkloadThatIsGoneIsForgottenAfterAnHour(t *testing.T) {
	topology := FixedTopology{Workloads: map[Workload]Replicas{workload: {Pods: 1}}}
	s := New(Config{Topology: topology})
	begin := time.Unix(1_800_000_000, 0)
	s.Tick(t.Context(), begin)
	delete(topology.Workloads, workload)
	s.Tick(t.Context(), begin.Add(30*time.Minute))
	if f, ok := s.Facts(workload); !ok || !f.At.Equal(begin) {
		t.Errorf("facts of a workload that went: %v at %v, want its last", ok, f.At)
	}
	s.Tick(t.Context(), begin.Add(2*time.Hour))
	if len(s.Workloads()) != 0 || len(s.series) != 0 {
		t.Error("a workload that is gone for two hours takes memory")
	}
}

func TestANilStoreKnowsNothing(t *testing.T) {
	var s *Store
	s.AddTraffic(&plane{})
	s.Held(shop)
	s.SetLag(workload, "x", 1, time.Now())
	s.Refresh(t.Context())
	_, ok := s.Facts(workload)
	calls, err := s.Callers(t.Context(), workload)
	if ok || err != nil || calls != nil || s.Workloads() != nil || s.History(workload, time.Time{}) != nil || s.Subscribe(t.Context()) != nil {
		t.Error("a nil store answered")
	}
}
