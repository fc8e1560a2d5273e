package signal

import (
	"slices"
	"time"
)

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	seconds := d.Seconds()
	bucket, _ := slices.BinarySearch(LatencyBounds[:], seconds)
	h.Buckets[bucket]++
	h.Sum += seconds
}

// Count is how many durations were counted.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// Mean of the durations in seconds; 0 without any.
func (h *Histogram) Mean() float64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return h.Sum / float64(n)
}

// Add counts what another histogram counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Sum += o.Sum
}

// Sub takes an earlier reading of the same counters away. Where the counters began anew since, because their owner
// started again, it takes nothing away: what they say now has all happened since.
func (h *Histogram) Sub(earlier *Histogram) {
	for i, n := range earlier.Buckets {
		if n > h.Buckets[i] {
			return
		}
	}
	for i, n := range earlier.Buckets {
		h.Buckets[i] -= n
	}
	h.Sum = max(h.Sum-earlier.Sum, 0)
}

// Quantile is the duration in seconds that a share q of all durations, from 0 to 1, did not exceed, taken to be spread
// evenly within a bucket, as PromQL's histogram_quantile does. Without durations it is 0; beyond the last bound it is
// that bound, since more is not known.
func (h *Histogram) Quantile(q float64) float64 {
	rank := min(max(q, 0), 1) * float64(h.Count())
	var below float64
	for i, n := range h.Buckets {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		if i == len(LatencyBounds) {
			break
		}
		var lower float64
		if i > 0 {
			lower = LatencyBounds[i-1]
		}
		return lower + (LatencyBounds[i]-lower)*(rank-below)/float64(n)
	}
	if below == 0 && h.Buckets[len(LatencyBounds)] == 0 {
		return 0
	}
	return LatencyBounds[len(LatencyBounds)-1]
}

// scaled multiplies the counts by a share of 0 to 1; counts are rounded.
func (h *Histogram) scaled(share float64) Histogram {
	if share == 1 {
		return *h
	}
	out := Histogram{Sum: h.Sum * share}
	for i, n := range h.Buckets {
		out.Buckets[i] = uint64(float64(n)*share + .5)
	}
	return out
}
