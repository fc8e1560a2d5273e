package signal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// A recording is a stream of records after a header of eight bytes, recordingMagic. A record is
//
//	kind     1 byte: 1 names a workload, 2 is a block of facts
//	length   uvarint: of the payload
//	payload
//	checksum 4 bytes, little endian: CRC-32C of kind and payload
//
// A name gives a workload the next number, from 0: three strings (kind, namespace, name), each a uvarint length and
// bytes. A block holds up to blockRows facts of one workload, one after the other in time:
//
//	workload uvarint: its number
//	rows     uvarint
//	columns  one for each entry of columns below
//	triggers uvarint, and for each a string, a column of values in thousandths and one of ages
//	latency  uvarint: how many buckets are not empty; for each a byte with its number, and a uvarint count; if there
//	         are any, a uvarint with the sum in microseconds
//
// A column begins with a byte that says how it goes on: 0 all zero; 1 a varint, the value of every row; 2 two varints,
// the first value and what each further row adds; 3 a varint for each row, the difference to the row before (of the
// first to 0). Ages are steps of 10 ms and one more than that, 0 when the value was not observed. The latency is that of
// all rows together: kept for each second it would be larger than all else.
//
// Every varint is zigzag, as encoding/binary writes it. What does not end as this says, because the machine stopped,
// ends the recording there.
const recordingMagic = "ESCSIG1\n"

const (
	recordName  = 1
	recordBlock = 2

	// blockRows is how many facts a block holds at most: a minute at a tick each second.
	blockRows = 60
	// blockSpan is how long a block may take to fill.
	blockSpan = 5 * time.Minute

	// maxRecord, maxString, maxRows and maxBlockTriggers are what a reader believes.
	maxRecord        = 1 << 20
	maxString        = 512
	maxRows          = 4096
	maxBlockTriggers = 64
)

var checksums = crc32.MakeTable(crc32.Castagnoli)

// column is one of the values that a block keeps for each row, as a whole number.
type column struct {
	get func(f *Facts) int64
	set func(f *Facts, n int64)
}

// columns in the order of the stream. The first is the time, which the others' ages count from.
var columns = [...]column{
	{func(f *Facts) int64 { return f.At.Unix() }, func(f *Facts, n int64) { f.At = time.Unix(n, 0) }},
	ageColumn(func(f *Facts) *time.Time { return &f.TrafficAt }),
	ageColumn(func(f *Facts) *time.Time { return &f.UsageAt }),
	scaledColumn(1000, func(f *Facts) *float64 { return &f.InFlight }),
	scaledColumn(1000, func(f *Facts) *float64 { return &f.Held }),
	scaledColumn(1000, func(f *Facts) *float64 { return &f.Rate }),
	scaledColumn(1000, func(f *Facts) *float64 { return &f.ErrorRate }),
	scaledColumn(10_000, func(f *Facts) *float64 { return &f.CPU }),
	scaledColumn(1./1024, func(f *Facts) *float64 { return &f.Memory }),
	scaledColumn(1000, func(f *Facts) *float64 { return &f.CPUReserved }),
	scaledColumn(1./1024, func(f *Facts) *float64 { return &f.MemoryReserved }),
	countColumn(func(f *Facts) *int32 { return &f.Desired }),
	countColumn(func(f *Facts) *int32 { return &f.Pods }),
	countColumn(func(f *Facts) *int32 { return &f.Ready }),
}

// scaledColumn keeps a value in steps of one part in scale.
func scaledColumn(scale float64, of func(*Facts) *float64) column {
	return column{
		func(f *Facts) int64 { return fixed(*of(f) * scale) },
		func(f *Facts, n int64) { *of(f) = float64(n) / scale },
	}
}

func countColumn(of func(*Facts) *int32) column {
	return column{
		func(f *Facts) int64 { return int64(*of(f)) },
		func(f *Facts, n int64) { *of(f) = int32(min(max(n, 0), math.MaxInt32)) },
	}
}

func ageColumn(of func(*Facts) *time.Time) column {
	return column{
		func(f *Facts) int64 { return storedAge(f.At, *of(f)) },
		func(f *Facts, n int64) { *of(f) = observedAt(f.At, n) },
	}
}

// storedAge counts from the second that the row keeps.
func storedAge(at, observed time.Time) int64 {
	if observed.IsZero() {
		return 0
	}
	return int64(max(at.Truncate(time.Second).Sub(observed)/ageStep, 0)) + 1
}

func observedAt(at time.Time, stored int64) time.Time {
	if stored <= 0 {
		return time.Time{}
	}
	return at.Add(-time.Duration(min(stored-1, math.MaxInt32)) * ageStep)
}

// fixed is a value as a whole number; what is no number is 0.
func fixed(v float64) int64 {
	const most = 1 << 53
	if v != v {
		return 0
	}
	return int64(math.Round(min(max(v, -most), most)))
}

// The forms of a column.
const (
	columnZero = iota
	columnConstant
	columnLinear
	columnDifferences
)

// appendColumn writes a column in the shortest form that fits.
func appendColumn(b []byte, values []int64) []byte {
	step, linear := int64(0), true
	if len(values) > 1 {
		step = values[1] - values[0]
	}
	for i := 1; i < len(values); i++ {
		linear = linear && values[i]-values[i-1] == step
	}
	switch {
	case linear && step == 0 && values[0] == 0:
		return append(b, columnZero)
	case linear && step == 0:
		return binary.AppendVarint(append(b, columnConstant), values[0])
	case linear:
		return binary.AppendVarint(binary.AppendVarint(append(b, columnLinear), values[0]), step)
	}
	b = append(b, columnDifferences)
	var before int64
	for _, v := range values {
		b = binary.AppendVarint(b, v-before)
		before = v
	}
	return b
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), maxString)]
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// block gathers facts of one workload.
type block struct {
	number   uint64
	begun    time.Time
	rows     [len(columns)][]int64
	triggers []triggerRows
	latency  Histogram
}

type triggerRows struct {
	name         string
	values, ages []int64
}

func (b *block) len() int { return len(b.rows[0]) }

func (b *block) full(at time.Time) bool {
	return b.len() == blockRows || b.len() > 0 && at.Sub(b.begun) >= blockSpan
}

func (b *block) add(f *Facts) {
	if b.len() == 0 {
		b.begun = f.At
	}
	before := b.len()
	for i, c := range columns {
		b.rows[i] = append(b.rows[i], c.get(f))
	}
	for _, l := range f.Lags {
		t := b.trigger(l.Trigger, before)
		if t == nil {
			continue
		}
		t.values = append(t.values, fixed(l.Value*1000))
		t.ages = append(t.ages, storedAge(f.At, l.At))
	}
	for i := range b.triggers {
		b.triggers[i].fill(b.len())
	}
	b.latency.Add(&f.Latency)
}

// trigger is the rows of a trigger, made as long as the block was before; nil when there are too many.
func (b *block) trigger(name string, before int) *triggerRows {
	for i := range b.triggers {
		if t := &b.triggers[i]; t.name == name {
			return t
		}
	}
	if len(b.triggers) == maxBlockTriggers {
		return nil
	}
	b.triggers = append(b.triggers, triggerRows{name: name})
	t := &b.triggers[len(b.triggers)-1]
	t.fill(before)
	return t
}

// fill makes up for rows that nothing was told in.
func (t *triggerRows) fill(rows int) {
	for len(t.values) < rows {
		t.values, t.ages = append(t.values, 0), append(t.ages, 0)
	}
}

// encode appends the payload and empties the block.
func (b *block) encode(out []byte) []byte {
	out = binary.AppendUvarint(out, b.number)
	out = binary.AppendUvarint(out, uint64(b.len()))
	for i := range b.rows {
		out = appendColumn(out, b.rows[i])
		b.rows[i] = b.rows[i][:0]
	}
	out = binary.AppendUvarint(out, uint64(len(b.triggers)))
	for _, t := range b.triggers {
		out = appendColumn(appendColumn(appendString(out, t.name), t.values), t.ages)
	}
	out = appendLatency(out, &b.latency)
	b.triggers, b.latency = b.triggers[:0], Histogram{}
	return out
}

func appendLatency(out []byte, h *Histogram) []byte {
	var used int
	for _, n := range h.Buckets {
		if n > 0 {
			used++
		}
	}
	out = binary.AppendUvarint(out, uint64(used))
	if used == 0 {
		return out
	}
	for i, n := range h.Buckets {
		if n > 0 {
			out = binary.AppendUvarint(append(out, byte(i)), n)
		}
	}
	return binary.AppendUvarint(out, uint64(max(fixed(h.Sum*1e6), 0)))
}

// Writer writes a recording to a stream. It keeps up to a minute of facts of each workload until they make a block.
type Writer struct {
	out     io.Writer
	blocks  map[Workload]*block
	names   uint64
	buffer  []byte
	payload []byte
	// Written is how many bytes went to the stream.
	Written int64
}

// NewWriter begins a recording.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, blocks: map[Workload]*block{}, buffer: []byte(recordingMagic)}
}

// Add records facts of a workload. Those of one workload are to come in the order of their times.
func (w *Writer) Add(workload Workload, f *Facts) error {
	b := w.blocks[workload]
	if b == nil {
		b = &block{number: w.names}
		w.blocks[workload] = b
		w.names++
		w.payload = appendString(appendString(appendString(w.payload[:0], workload.Kind), workload.Namespace), workload.Name)
		w.record(recordName)
	}
	if b.full(f.At) {
		w.end(b)
	}
	b.add(f)
	if len(w.buffer) < 1<<16 {
		return nil
	}
	return w.write()
}

// end adds a block to the buffer.
func (w *Writer) end(b *block) {
	w.payload = b.encode(w.payload[:0])
	w.record(recordBlock)
}

// record adds the payload to the buffer.
func (w *Writer) record(kind byte) {
	w.buffer = append(w.buffer, kind)
	w.buffer = binary.AppendUvarint(w.buffer, uint64(len(w.payload)))
	w.buffer = append(w.buffer, w.payload...)
	w.buffer = binary.LittleEndian.AppendUint32(w.buffer, checksum(kind, w.payload))
}

func checksum(kind byte, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte{kind}, checksums), checksums, payload)
}

func (w *Writer) write() error {
	n, err := w.out.Write(w.buffer)
	w.Written += int64(n)
	w.buffer = w.buffer[:0]
	return err
}

// Sync writes the blocks that are complete. Facts of up to a minute stay, so that blocks stay large.
func (w *Writer) Sync() error {
	if len(w.buffer) == 0 {
		return nil
	}
	return w.write()
}

// Flush writes everything.
func (w *Writer) Flush() error {
	for _, b := range w.blocks {
		if b.len() > 0 {
			w.end(b)
		}
	}
	return w.Sync()
}

// Forget writes what there is of a workload and forgets it; it is named again if it comes back.
func (w *Writer) Forget(workload Workload) {
	if b := w.blocks[workload]; b != nil && b.len() > 0 {
		w.end(b)
	}
	delete(w.blocks, workload)
}

// ErrNoRecording says that a stream does not begin like a recording.
var ErrNoRecording = errors.New("this is no recording of signals")
