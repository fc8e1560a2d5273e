package signal

import (
	"math"
	"time"
)

// Rows are facts of one workload, one after the other in time, as a recording holds them: column by column, each decoded
// when it is asked for. They keep their memory for the next.
type Rows struct {
	Workload Workload

	count    int
	columns  [valueCount]encoded
	triggers []triggerColumns
	latency  Histogram
	floats   [valueCount][]float64
}

// encoded is a column that may not have been looked at yet.
type encoded struct {
	bytes   []byte
	decoded bool
	values  []int64
}

type triggerColumns struct {
	name         string
	values, ages encoded
}

// Len is how many facts there are.
func (r *Rows) Len() int { return r.count }

// Second is the time of a row, in seconds since 1970.
func (r *Rows) Second(row int) int64 { return r.of(valueAt)[row] }

// Values are those of all rows. They are valid as long as the Rows are.
func (r *Rows) Values(v Value) []float64 {
	c, scale := &r.columns[v], columns[v].scale
	if c.decoded && len(r.floats[v]) > 0 {
		return r.floats[v]
	}
	out := r.floats[v][:0]
	for _, n := range r.of(v) {
		out = append(out, float64(n)/scale)
	}
	r.floats[v] = out
	return out
}

// Lags appends to sums what waits in the source of a trigger at each row, or in those of all triggers if it is "".
func (r *Rows) Lags(trigger string, sums []float64) []float64 {
	begin := len(sums)
	for range r.count {
		sums = append(sums, 0)
	}
	for i := range r.triggers {
		t := &r.triggers[i]
		if trigger != "" && trigger != t.name {
			continue
		}
		ages := t.ages.of(r.count)
		for row, n := range t.values.of(r.count) {
			if ages[row] > 0 {
				sums[begin+row] += float64(n) / 1000
			}
		}
	}
	return sums
}

// Facts makes f those of a row, whose slices it uses again. The last row has the latency of all.
func (r *Rows) Facts(row int, f *Facts) {
	*f = Facts{Lags: f.Lags[:0]}
	for v := range columns {
		columns[v].set(f, r.of(Value(v))[row])
	}
	for i := range r.triggers {
		t := &r.triggers[i]
		if age := t.ages.of(r.count)[row]; age > 0 {
			value := float64(t.values.of(r.count)[row]) / 1000
			f.Lags = append(f.Lags, Lag{Trigger: t.name, Value: value, At: observedAt(f.At, age)})
		}
	}
	if row == r.count-1 {
		f.Latency = r.latency
	}
}

func (r *Rows) of(v Value) []int64 { return r.columns[v].of(r.count) }

// of decodes the column.
func (c *encoded) of(rows int) []int64 {
	if c.decoded {
		return c.values
	}
	if cap(c.values) < rows {
		c.values = make([]int64, max(rows, blockRows))
	}
	c.values = c.values[:rows]
	p := parser{b: c.bytes}
	p.readColumn(c.values)
	c.decoded = true
	return c.values
}

// take makes the rows those of a block, after the workload's number. It finds out that the block is whole.
func (r *Rows) take(w Workload, block []byte) error {
	p := parser{b: block}
	rows := p.uvarint()
	if rows == 0 || rows > maxRows {
		return errDamaged
	}
	r.Workload, r.count = w, int(rows)
	for v := range r.columns {
		r.columns[v].take(&p, r.count)
		r.floats[v] = r.floats[v][:0]
	}
	r.takeTriggers(&p)
	r.latency = readLatency(&p)
	if p.bad {
		return errDamaged
	}
	return nil
}

// take remembers where the column is.
func (c *encoded) take(p *parser, rows int) {
	c.bytes, c.decoded = p.b, false
	p.skipColumn(rows)
}

func (r *Rows) takeTriggers(p *parser) {
	n := p.uvarint()
	if n > maxBlockTriggers {
		p.bad = true
		return
	}
	for len(r.triggers) < int(n) {
		r.triggers = append(r.triggers, triggerColumns{})
	}
	r.triggers = r.triggers[:n]
	for i := range r.triggers {
		t := &r.triggers[i]
		t.name = p.string()
		t.values.take(p, r.count)
		t.ages.take(p, r.count)
	}
}

func readLatency(p *parser) (h Histogram) {
	used := p.uvarint()
	if used == 0 {
		return h
	}
	if used > math.MaxUint32 {
		p.bad = true
		return h
	}
	for i := range h.Buckets {
		if used>>i&1 == 1 {
			h.Buckets[i] = p.uvarint()
		}
	}
	h.Sum = float64(p.uvarint()) / 1e6
	return h
}

// observedAt is the time that an age speaks of.
func observedAt(at time.Time, stored int64) time.Time {
	if stored <= 0 {
		return time.Time{}
	}
	return at.Add(-time.Duration(min(stored-1, math.MaxInt32)) * ageStep)
}
