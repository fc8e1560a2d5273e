package chart

import (
	"iter"
	"math"
	"strconv"
	"time"
)

// Values are numbers at equal distances; one that is not there is NaN, in JSON null.
type Values []float64

// MarshalJSON writes null for what is not there.
func (v Values) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, f := range v {
		if i > 0 {
			b = append(b, ',')
		}
		if isValue(f) {
			b = strconv.AppendFloat(b, f, 'g', 6, 64)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, ']'), nil
}

// Last is the newest value and its index; NaN and -1 when there is none.
func (v Values) Last() (float64, int) {
	for i := len(v) - 1; i >= 0; i-- {
		if isValue(v[i]) {
			return v[i], i
		}
	}
	return math.NaN(), -1
}

// Max is the largest value, NaN when there is none.
func (v Values) Max() float64 { return v.fold(math.Max) }

// Min is the smallest value, NaN when there is none.
func (v Values) Min() float64 { return v.fold(math.Min) }

func (v Values) fold(f func(a, b float64) float64) float64 {
	out := math.NaN()
	for _, x := range v {
		switch {
		case !isValue(x):
		case math.IsNaN(out):
			out = x
		default:
			out = f(out, x)
		}
	}
	return out
}

// Mean of the values that are there, NaN when there is none.
func (v Values) Mean() float64 {
	sum, n := 0.0, 0
	for _, x := range v {
		if isValue(x) {
			sum += x / float64(max(1, len(v)))
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum * float64(len(v)) / float64(n)
}

// Combine is how several values become one.
type Combine func(Values) float64

// The usual ways.
var (
	Mean Combine = Values.Mean
	Max  Combine = Values.Max
	Last Combine = func(v Values) float64 { f, _ := v.Last(); return f }
)

// Thin makes one value of each n, so that a long time has few points. Groups are counted from the zero time in steps,
// not from the first value, so that a chart that moves on keeps its shape. It returns the start and the step of the
// result.
func Thin(v Values, start time.Time, step time.Duration, n int, how Combine) (Values, time.Time, time.Duration) {
	if n <= 1 || step <= 0 {
		return v, start, step
	}
	wide := step * time.Duration(n)
	first := start.Truncate(wide)
	skip := int(start.Sub(first) / step)
	var out Values
	for from := -skip; from < len(v); from += n {
		out = append(out, how(v[max(0, from):min(len(v), from+n)]))
	}
	return out, first, wide
}

func isValue(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) && math.Abs(f) < 1e300 }

// short writes a number for the script, to five digits; nothing for one that is not there.
func short(f float64) string {
	if !isValue(f) {
		return ""
	}
	return strconv.FormatFloat(f, 'g', 5, 64)
}

// Place puts observations into slots of a step; the newest of a slot counts. Between two that are at most hold apart the
// first one holds; after the last one it does for two seconds, or a step. Elsewhere there is a gap.
func Place(start time.Time, step time.Duration, count int, hold time.Duration, seen iter.Seq2[time.Time, float64]) Values {
	out := make(Values, count)
	for i := range out {
		out[i] = math.NaN()
	}
	fill := func(v float64, from, to time.Time) {
		first := max(0, int(from.Sub(start)/step))
		if from.Before(start) {
			first = 0
		}
		for i := first; i < count && start.Add(time.Duration(i)*step).Before(to); i++ {
			out[i] = v
		}
	}
	last, lastAt := math.NaN(), time.Time{}
	for at, v := range seen {
		if !lastAt.IsZero() {
			if at.Sub(lastAt) <= max(hold, step) {
				fill(last, lastAt, at)
			} else {
				fill(last, lastAt, lastAt.Add(1))
			}
		}
		last, lastAt = v, at
	}
	if !lastAt.IsZero() {
		fill(last, lastAt, lastAt.Add(max(patienceAtEnd, step)))
	}
	return out
}

// patienceAtEnd is for how long the last observation holds.
const patienceAtEnd = 2 * time.Second
