package chart

import (
	"iter"
	"math"
	"strconv"
	"strings"
)

// pen turns values into path data: x counts points, y is in parts of 1000 from the top.
type pen struct {
	axis  axis
	count int
}

// width of the coordinate system.
func (p pen) width() int { return max(1, p.count-1) }

// x of a point. A single one is at the end.
func (p pen) x(i int) int {
	if p.count == 1 {
		return 1
	}
	return i
}

func (p pen) y(v float64) int { return p.axis.place(v) }

// path is path data that is written without a string for each number.
type path struct {
	strings.Builder
	scratch [20]byte
}

func (b *path) to(command byte, n int) {
	b.WriteByte(command)
	b.Write(strconv.AppendInt(b.scratch[:0], int64(n), 10))
}

func (b *path) point(command byte, x, y int) {
	b.to(command, x)
	b.to(' ', y)
}

// runs yields the parts of v without a gap, as half-open ranges.
func runs(v Values) iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for from := 0; from < len(v); from++ {
			if !isValue(v[from]) {
				continue
			}
			to := from + 1
			for to < len(v) && isValue(v[to]) {
				to++
			}
			if !yield(from, to) {
				return
			}
			from = to
		}
	}
}

// along draws the values as a line, in steps when asked. A value between two gaps becomes a dot.
func (p pen) along(v Values, steps bool) string {
	var b path
	b.Grow(8 * len(v))
	for from, to := range runs(v) {
		p.run(&b, v, from, to, steps)
		if to-from == 1 {
			b.WriteString("h0")
		}
	}
	return b.String()
}

// run draws one part. Points in the middle of a level stretch are left out.
func (p pen) run(b *path, v Values, from, to int, steps bool) {
	last := p.y(v[from])
	b.point('M', p.x(from), last)
	for i := from + 1; i < to; i++ {
		y := p.y(v[i])
		switch {
		case y == last && i < to-1 && p.y(v[i+1]) == y:
		case y == last:
			b.to('H', p.x(i))
		case steps:
			b.to('H', p.x(i))
			b.to('V', y)
		default:
			b.point('L', p.x(i), y)
		}
		last = y
	}
}

// between fills the room from low to high; without low, from zero. Where one of them is not there, neither is the fill.
func (p pen) between(low, high Values, steps bool) string {
	both := high
	if low != nil {
		both = make(Values, len(high))
		for i := range both {
			both[i] = high[i]
			if i >= len(low) || !isValue(low[i]) {
				both[i] = math.NaN()
			}
		}
	}
	var b path
	b.Grow(8 * len(high))
	for from, to := range runs(both) {
		p.run(&b, high, from, to, steps)
		if low == nil {
			b.to('V', p.y(0))
			b.to('H', p.x(from))
		} else {
			p.back(&b, low, from, to, steps)
		}
		b.WriteByte('Z')
	}
	return b.String()
}

// back draws a part from its end to its begin.
func (p pen) back(b *path, v Values, from, to int, steps bool) {
	b.to('V', p.y(v[to-1]))
	for i := to - 2; i >= from; i-- {
		if steps {
			b.to('H', p.x(i+1))
			b.to('V', p.y(v[i]))
			continue
		}
		b.point('L', p.x(i), p.y(v[i]))
	}
	if steps {
		b.to('H', p.x(from))
	}
}
