package signal

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreWithinTheirBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform":     random.Float64,
		"exponential": func() float64 { return random.ExpFloat64() * .05 },
		"two humps":   func() float64 { return []float64{.002, .8}[random.IntN(2)] * (1 + random.Float64()) },
	} {
		t.Run(name, func(t *testing.T) {
			var h Histogram
			var all []float64
			for range 20_000 {
				v := draw()
				all = append(all, v)
				h.Observe(time.Duration(v * float64(time.Second)))
			}
			slices.Sort(all)
			for _, q := range []float64{.01, .25, .5, .9, .99, .999} {
				exact := all[int(q*float64(len(all)-1))]
				if got := h.Quantile(q); got < exact/1.7 || got > exact*1.7 {
					t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
				}
			}
			if mean := h.Mean(); math.Abs(mean-sum(all)/float64(len(all))) > 1e-6 {
				t.Errorf("mean %v, exactly %v", mean, sum(all)/float64(len(all)))
			}
		})
	}
}

func sum(all []float64) (s float64) {
	for _, v := range all {
		s += v
	}
	return s
}

func TestQuantileAtTheEdges(t *testing.T) {
	var empty, slow, one Histogram
	slow.Observe(time.Hour)
	one.Observe(40 * time.Millisecond)
	for name, c := range map[string]struct {
		h    *Histogram
		q    float64
		want float64
	}{
		"without durations":                 {&empty, .5, 0},
		"beyond the last bound":             {&slow, .5, 60},
		"a share above 1 is 1":              {&one, 7, .05},
		"a share below 0 is 0":              {&one, -1, .03},
		"the middle of the bucket's bounds": {&one, .5, .04},
	} {
		if got := c.h.Quantile(c.q); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHistogramsAddAndSubtract(t *testing.T) {
	var a, b Histogram
	for range 10 {
		a.Observe(5 * time.Millisecond)
		b.Observe(2 * time.Second)
	}
	merged := a
	merged.Add(&b)
	if merged.Count() != 20 || merged.Quantile(.25) > .005 || merged.Quantile(.75) < 1.5 {
		t.Errorf("merged: %d, %v, %v", merged.Count(), merged.Quantile(.25), merged.Quantile(.75))
	}
	merged.Sub(&a)
	if merged.Buckets != b.Buckets || math.Abs(merged.Sum-b.Sum) > 1e-9 {
		t.Errorf("what is left of a+b-a is %v", merged)
	}
	restarted := a
	restarted.Sub(&b)
	if restarted != a {
		t.Error("counters that began anew lost what they counted since")
	}
}

func TestPackedCountsAreWithinOnePartInTwoThousand(t *testing.T) {
	for _, n := range []uint64{0, 1, 2047, 2048, 2049, 4095, 4096, 123_456, 65_535, 1 << 30, 1<<30 + 12345, 1 << 40} {
		got := unpackCount(packCount(n))
		if math.Abs(float64(got)-float64(n)) > float64(n)/2000 {
			t.Errorf("%d is kept as %d", n, got)
		}
	}
}

func TestAgesAreKeptInStepsOfTenMilliseconds(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, old := range []time.Duration{0, 10 * time.Millisecond, 990 * time.Millisecond, 5 * time.Minute} {
		if got := ageOf(at, at.Add(-old)).before(at); !got.Equal(at.Add(-old)) {
			t.Errorf("%v old is kept as %v", old, at.Sub(got))
		}
	}
	if got := ageOf(at, time.Time{}).before(at); !got.IsZero() {
		t.Errorf("a value that was not observed got the time %v", got)
	}
}
