package signal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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
			nearOf(t, f, &got[i])
			if diff := cmp.Diff(*f, got[i]); diff != "" {
				t.Fatalf("%v, row %d (-recorded +read):\n%s", w, i, diff)
			}
		}
		if latency.Buckets != want.Buckets || math.Abs(latency.Sum-want.Sum) > 1e-5 {
			t.Errorf("%v: latencies %v, want %v", w, latency, want)
		}
	}
}

// nearOf makes what is rounded the same where it is near enough: to a part in 500, or 2,000 of the highest that busy has.
func nearOf(t *testing.T, want, got *Facts) {
	t.Helper()
	for _, m := range []struct {
		name      string
		want, got *float64
		highest   float64
	}{
		{"rate", &want.Rate, &got.Rate, 112}, {"error rate", &want.ErrorRate, &got.ErrorRate, .5},
		{"CPU", &want.CPU, &got.CPU, 3}, {"memory", &want.Memory, &got.Memory, 1<<28 + 8*4096},
	} {
		if math.Abs(*m.want-*m.got) > max(*m.want/500, m.highest/2000) {
			t.Fatalf("%s %g was read as %g", m.name, *m.want, *m.got)
		}
		*m.got = *m.want
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

func TestAnotherFormIsRefused(t *testing.T) {
	for _, text := range []string{"ESCSIG1\n", "ESCSIG3\nwhatever follows"} {
		if err := NewReader(strings.NewReader(text)).Each(nil); !errors.Is(err, ErrOtherForm) {
			t.Errorf("%q: %v, want ErrOtherForm", text, err)
		}
	}
}

func TestColumns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	column := func(n int, next func(i int) int64) []int64 {
		values := make([]int64, n)
		for i := range values {
			values[i] = next(i)
		}
		return values
	}
	spikes := func(i int) int64 { return 40_000 * int64(i/20%2) }
	for name, c := range map[string]struct {
		values []int64
		form   byte
		most   int // bytes
	}{
		"nothing":                      {column(60, func(int) int64 { return 0 }), columnZero, 1},
		"always the same":              {column(60, func(int) int64 { return -7 }), columnConstant, 2},
		"one row":                      {[]int64{1 << 40}, columnConstant, 8},
		"seconds":                      {column(60, func(i int) int64 { return 1_800_000_000 + int64(i) }), columnLinear, 8},
		"small numbers in thousandths": {column(60, func(int) int64 { return 1000 * random.Int64N(16) }), columnPacked, 5 + 30},
		"noise on a slope":             {column(60, func(i int) int64 { return int64(i)*5000 + random.Int64N(4) }), columnDifferences, 12 + 23},
		"what changes seldom":          {column(60, spikes), columnSteps, 16},
		"what is wide":                 {[]int64{-mostFixed, mostFixed, 3, -mostFixed}, columnDifferences, 48},
	} {
		b := appendColumn(nil, c.values, nil)
		if b[0] != c.form || len(b) > c.most {
			t.Errorf("%s: form %d in %d bytes, want %d in at most %d", name, b[0], len(b), c.form, c.most)
		}
		checkColumn(t, b, c.values)
	}
}

// checkColumn reads a column in the midst of others.
func checkColumn(t *testing.T, column []byte, want []int64) {
	t.Helper()
	for _, behind := range []int{0, 1, 9} {
		skip := parser{b: append(slices.Clone(column), make([]byte, behind)...)}
		read := parser{b: skip.b}
		skip.skipColumn(len(want))
		got := make([]int64, len(want))
		read.readColumn(got)
		if skip.bad || len(skip.b) != behind || len(read.b) != behind || !slices.Equal(got, want) {
			t.Fatalf("%v was read as %v, with %d and %d bytes behind it left of %d", want, got, len(skip.b), len(read.b), behind)
		}
	}
}

func FuzzColumn(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 200, 6, 7, 8, 9}, uint8(3), uint8(0))
	f.Add([]byte{0, 0, 1, 0, 0}, uint8(0), uint8(30))
	f.Fuzz(func(t *testing.T, b []byte, unit, scale uint8) {
		var values []int64
		for i := range min(len(b), blockRows) {
			values = append(values, (int64(b[i])-100)*(1+int64(unit))<<(scale%30))
		}
		if len(values) > 0 {
			checkColumn(t, appendColumn(nil, values, nil), values)
		}
	})
}

func TestWhatIsMeasuredIsRounded(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		level := int64(1) << random.IntN(40)
		values := make([]int64, blockRows)
		for i := range values {
			values[i] = level + random.Int64N(level) - int64(random.IntN(2))*level
		}
		rounded := slices.Clone(values)
		round(rounded)
		for i, v := range values {
			if off := magnitude(rounded[i] - v); off > max(v/512, slices.Max(values)/2048) || v != 0 && rounded[i] == 0 {
				t.Fatalf("%d became %d beside %d", v, rounded[i], slices.Max(values))
			}
		}
		again := slices.Clone(rounded)
		round(again)
		for i, v := range rounded {
			if off := magnitude(again[i] - v); off > max(v/512, slices.Max(rounded)/2048) {
				t.Fatalf("%d became %d the second time", v, again[i])
			}
		}
	}
	// Whole requests in a second that was a little too long are whole requests again.
	perSecond := []float64{7 / 1.0003, 12 / 1.0003, 0, 9 / 1.0003}
	values := make([]int64, len(perSecond))
	for i, v := range perSecond {
		values[i] = fixed(v * columns[ValueRate].scale)
	}
	round(values)
	if want := []int64{7 << 10, 12 << 10, 0, 9 << 10}; !slices.Equal(values, want) {
		t.Errorf("%v, want %v", values, want)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(record(f, 2, 61))
	f.Add([]byte(recordingMagic + "\x01\x03\x00\x00\x00"))
	var b block
	for i := range blockRows {
		b.add(busy(i))
	}
	f.Add(b.encode(nil)[1:])
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
		var rows Rows
		if rows.take(workload, b) != nil {
			return
		}
		var facts Facts
		for i := range rows.Len() {
			rows.Facts(i, &facts)
		}
		for v := range valueCount {
			if len(rows.Values(v)) != rows.Len() {
				t.Error("a column is too short")
			}
		}
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
