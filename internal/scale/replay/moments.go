package replay

import (
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

// moments are facts of one workload, one after the other in time, column by column.
type moments interface {
	// times are in nanoseconds since 1970.
	times() []int64
	// values are those of a column, in the same order, valid until the next moments.
	values(c Column) []float64
}

// The columns that no metric reads.
const (
	podsColumn           Column = "pods"
	cpuReservedColumn    Column = "cpu-reserved"
	memoryReservedColumn Column = "memory-reserved"
)

// recorded are moments of a recording.
type recorded struct {
	rows *signal.Rows
	at   []int64
	lags map[Column][]float64
}

var recordedValues = map[Column]signal.Value{
	InFlight: signal.ValueInFlight, Rate: signal.ValueRate, CPU: signal.ValueCPU, Memory: signal.ValueMemory,
	podsColumn: signal.ValuePods, cpuReservedColumn: signal.ValueCPUReserved, memoryReservedColumn: signal.ValueMemoryReserved,
}

func (r *recorded) take(rows *signal.Rows) {
	r.rows, r.at = rows, r.at[:0]
	for i := range rows.Len() {
		r.at = append(r.at, rows.Second(i)*int64(time.Second))
	}
	clear(r.lags)
}

func (r *recorded) times() []int64 { return r.at }

func (r *recorded) values(c Column) []float64 {
	if v, ok := recordedValues[c]; ok {
		return r.rows.Values(v)
	}
	if have, ok := r.lags[c]; ok {
		return have
	}
	if r.lags == nil {
		r.lags = map[Column][]float64{}
	}
	_, trigger, _ := strings.Cut(string(c), ":")
	r.lags[c] = r.rows.Lags(trigger, nil)
	return r.lags[c]
}

// told is one moment of a table.
type told struct {
	facts  *signal.Facts
	at     [1]int64
	floats []float64
}

func (t *told) take(f *signal.Facts) {
	t.facts, t.at[0], t.floats = f, f.At.UnixNano(), t.floats[:0]
}

func (t *told) times() []int64 { return t.at[:] }

func (t *told) values(c Column) []float64 {
	t.floats = append(t.floats, t.value(c))
	return t.floats[len(t.floats)-1:]
}

func (t *told) value(c Column) float64 {
	switch c {
	case podsColumn:
		return float64(t.facts.Pods)
	case cpuReservedColumn:
		return t.facts.CPUReserved
	case memoryReservedColumn:
		return t.facts.MemoryReserved
	}
	return c.reader()(t.facts)
}
