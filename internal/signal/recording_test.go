package signal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// busy is facts of a workload whose values change each second.
func busy(i int) *Facts {
	at := time.Unix(1_800_000_000+int64(i), 0)
	wave := math.Sin(float64(i) / 50)
	f := &Facts{
		At: at, TrafficAt: at, UsageAt: at.Add(-120 * time.Millisecond),
		InFlight: float64(20 + i%7), Held: float64(i % 2), Rate: 100 + float64(i%13), ErrorRate: .5,
		CPU: math.Round((2+wave)*10_000) / 10_000, Memory: float64(1<<28 + 4096*(i%9)),
		CPUReserved: 1.5, MemoryReserved: 1 << 29, Desired: 3, Pods: 3, Ready: int32(2 + i%2),
		Lags: []Lag{{Trigger: "orders", Value: float64(i * 10), At: at.Add(-time.Second)}},
	}
	f.Latency.Observe(time.Duration(1+i%20) * time.Millisecond)
	return f
}

func record(t testing.TB, workloads, ticks int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for i := range ticks {
		for n := range workloads {
			if err := w.Add(numbered(n), busy(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func numbered(n int) Workload {
	return Workload{Kind: "Deployment", Namespace: "shop", Name: fmt.Sprintf("w%d", n)}
}

// played is everything a recording holds, in order per workload.
func played(t testing.TB, r *Reader) map[Workload][]Facts {
	t.Helper()
	all := map[Workload][]Facts{}
	err := r.Each(func(w Workload, f *Facts) error {
		kept := *f
		kept.Lags = append([]Lag(nil), f.Lags...)
		all[w] = append(all[w], kept)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatIsRecordedIsReadAgain(t *testing.T) {
	r := NewReader(bytes.NewReader(record(t, 3, 150)))
	all := played(t, r)
	if r.Torn() || len(all) != 3 {
		t.Fatalf("torn %v, %d workloads", r.Torn(), len(all))
	}
	for w, got := range all {
		if len(got) != 150 {
			t.Fatalf("%v has %d facts, want 150", w, len(got))
		}
		var latency, want Histogram
		for i := range got {
			f := busy(i)
			want.Add(&f.Latency)
			latency.Add(&got[i].Latency)
			f.Latency, got[i].Latency = Histogram{}, Histogram{}
			if diff := cmp.Diff(*f, got[i]); diff != "" {
				t.Fatalf("%v, row %d (-recorded +read):\n%s", w, i, diff)
			}
		}
		if latency.Buckets != want.Buckets || math.Abs(latency.Sum-want.Sum) > 1e-5 {
			t.Errorf("%v: latencies %v, want %v", w, latency, want)
		}
	}
}

func TestAWorkloadCanBeReadAlone(t *testing.T) {
	r := NewReader(bytes.NewReader(record(t, 5, 70)))
	r.Only = func(w Workload) bool { return w == numbered(3) }
	if all := played(t, r); len(all) != 1 || len(all[numbered(3)]) != 70 {
		t.Errorf("got %d workloads, %d facts of the one asked for", len(all), len(all[numbered(3)]))
	}
}

func TestAQuietWorkloadTakesFewBytes(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for i := range 3600 {
		at := time.Unix(1_800_000_000+int64(i), 0)
		if err := w.Add(workload, &Facts{At: at, UsageAt: at, CPU: .001, Memory: 1 << 26, Desired: 1, Pods: 1, Ready: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if perHour := out.Len(); perHour > 60*50 {
		t.Errorf("an hour of a quiet workload takes %d bytes, want at most 50 a minute", perHour)
	}
}

func TestATornTailEndsTheRecordingThere(t *testing.T) {
	whole := record(t, 2, 120)
	counts := map[int]bool{}
	for cut := len(recordingMagic); cut < len(whole); cut++ {
		r := NewReader(bytes.NewReader(whole[:cut]))
		n := 0
		if err := r.Each(func(Workload, *Facts) error { n++; return nil }); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if n%60 != 0 || n > 180 {
			t.Fatalf("cut at %d: %d facts, want those of whole blocks", cut, n)
		}
		counts[n] = true
	}
	if len(counts) != 4 {
		t.Errorf("cuts left %v facts, want none and those of one, two and three blocks", counts)
	}
}

func TestADamagedBlockIsNotBelieved(t *testing.T) {
	damaged := record(t, 1, 120)
	damaged[len(damaged)-100] ^= 1
	r := NewReader(bytes.NewReader(damaged))
	if all := played(t, r); !r.Torn() || len(all[numbered(0)]) != 60 {
		t.Errorf("torn %v, %d facts; want the 60 of the block before", r.Torn(), len(all[numbered(0)]))
	}
}

func TestAnythingElseIsNoRecording(t *testing.T) {
	for _, text := range []string{"", "ESC", "PNG........"} {
		if err := NewReader(bytes.NewReader([]byte(text))).Each(nil); !errors.Is(err, ErrNoRecording) {
			t.Errorf("%q: %v, want ErrNoRecording", text, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(record(f, 2, 61))
	f.Add([]byte(recordingMagic + "\x01\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		r.Only = func(Workload) bool { return true }
		_ = r.Each(func(w Workload, facts *Facts) error {
			if len(facts.Lags) > maxBlockTriggers || len(w.Name) > maxString {
				t.Error("a reader believed too much")
			}
			return nil
		})
		// The checksums keep random bytes out of the blocks, so they are tried without.
		var d decoder
		_ = d.each(&parser{b: b}, workload, func(Workload, *Facts) error { return nil })
	})
}

func BenchmarkRead(b *testing.B) {
	recording := record(b, 10, 6000)
	b.SetBytes(int64(len(recording)))
	for b.Loop() {
		n := 0
		if err := NewReader(bytes.NewReader(recording)).Each(func(_ Workload, f *Facts) error { n++; return nil }); err != nil || n != 60_000 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/60_000, "ns/fact")
}
