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
//	latency  uvarint: which buckets are not empty, a bit each; for each of them a uvarint count; if there are any, a
//	         uvarint with the sum in microseconds
//
// A column begins with a byte that says how it goes on:
//
//	0 zero         all are 0
//	1 constant     a varint, the value of every row
//	2 linear       two varints, the first value and what each further row adds
//	3 packed       a packing of the values
//	4 differences  a varint, the first value, and a packing of what each further row adds
//	5 steps        a varint, the first value; for each change a uvarint, how many rows later it is, and a varint, by how
//	               much; 0
//
// A packing is a varint, the lowest number; a uvarint, the unit; a byte, the width in bits; and of each number as many
// bits as the width, the lowest first: how many units it is above the lowest.
//
// Ages are steps of 10 ms and one more than that, 0 when the value was not observed. What is measured (rates, CPU and
// memory) is rounded to fewer digits first; see round. The latency is that of all rows together: kept for each second it
// would be larger than all else.
//
// Every varint is zigzag, as encoding/binary writes it. What does not end as this says, because the machine stopped,
// ends the recording there.
const recordingMagic = "ESCSIG2\n"

// magicStem is what every form of a recording begins with; the form is the next byte.
const magicStem = "ESCSIG"

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
	// scale is how many units make 1.
	scale float64
	// measured says that the value is rounded.
	measured bool
}

// Value is a number that facts hold.
type Value int

// The values in the order of the stream.
const (
	valueAt Value = iota
	valueTrafficAt
	valueUsageAt
	ValueInFlight
	ValueHeld
	ValueRate
	ValueErrorRate
	ValueCPU
	ValueMemory
	ValueCPUReserved
	ValueMemoryReserved
	ValueDesired
	ValuePods
	ValueReady
	valueCount
)

// columns are the values' columns. The first is the time, which the others' ages count from.
var columns = [valueCount]column{
	valueAt:             {get: func(f *Facts) int64 { return unixSecond(f.At) }, set: func(f *Facts, n int64) { f.At = time.Unix(n, 0) }, scale: 1},
	valueTrafficAt:      ageColumn(func(f *Facts) *time.Time { return &f.TrafficAt }),
	valueUsageAt:        ageColumn(func(f *Facts) *time.Time { return &f.UsageAt }),
	ValueInFlight:       exact(1000, func(f *Facts) *float64 { return &f.InFlight }),
	ValueHeld:           exact(1000, func(f *Facts) *float64 { return &f.Held }),
	ValueRate:           measured(1<<10, func(f *Facts) *float64 { return &f.Rate }),
	ValueErrorRate:      measured(1<<10, func(f *Facts) *float64 { return &f.ErrorRate }),
	ValueCPU:            measured(1<<14, func(f *Facts) *float64 { return &f.CPU }),
	ValueMemory:         measured(1./1024, func(f *Facts) *float64 { return &f.Memory }),
	ValueCPUReserved:    exact(1000, func(f *Facts) *float64 { return &f.CPUReserved }),
	ValueMemoryReserved: exact(1./1024, func(f *Facts) *float64 { return &f.MemoryReserved }),
	ValueDesired:        countColumn(func(f *Facts) *int32 { return &f.Desired }),
	ValuePods:           countColumn(func(f *Facts) *int32 { return &f.Pods }),
	ValueReady:          countColumn(func(f *Facts) *int32 { return &f.Ready }),
}

// exact keeps a value in steps of one part in scale.
func exact(scale float64, of func(*Facts) *float64) column {
	return column{
		get:   func(f *Facts) int64 { return fixed(*of(f) * scale) },
		set:   func(f *Facts, n int64) { *of(f) = float64(n) / scale },
		scale: scale,
	}
}

// measured is exact, and rounded.
func measured(scale float64, of func(*Facts) *float64) column {
	c := exact(scale, of)
	c.measured = true
	return c
}

// unixSecond is the second of a time, within the range that packed numbers have.
func unixSecond(t time.Time) int64 { return min(max(t.Unix(), -mostFixed), mostFixed) }

func countColumn(of func(*Facts) *int32) column {
	return column{
		get:   func(f *Facts) int64 { return int64(*of(f)) },
		set:   func(f *Facts, n int64) { *of(f) = int32(min(max(n, 0), math.MaxInt32)) },
		scale: 1,
	}
}

func ageColumn(of func(*Facts) *time.Time) column {
	return column{
		get:   func(f *Facts) int64 { return storedAge(f.At, *of(f)) },
		set:   func(f *Facts, n int64) { *of(f) = observedAt(f.At, n) },
		scale: 1,
	}
}

// storedAge counts from the second that the row keeps.
func storedAge(at, observed time.Time) int64 {
	if observed.IsZero() {
		return 0
	}
	return int64(max(at.Truncate(time.Second).Sub(observed)/ageStep, 0)) + 1
}

// fixed is a value as a whole number; what is no number is 0.
func fixed(v float64) int64 {
	if v != v {
		return 0
	}
	return int64(math.Round(min(max(v, -mostFixed), mostFixed)))
}

// mostFixed is the highest whole number up to which a float64 holds every one.
const mostFixed = 1 << 53

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), maxString)]
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// block gathers facts of one workload.
type block struct {
	number   uint64
	begun    time.Time
	rows     [valueCount][]int64
	spare    [blockRows]int64
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
		if columns[i].measured {
			round(b.rows[i])
		}
		out = appendColumn(out, b.rows[i], b.spare[:])
		b.rows[i] = b.rows[i][:0]
	}
	out = binary.AppendUvarint(out, uint64(len(b.triggers)))
	for _, t := range b.triggers {
		out = appendColumn(appendString(out, t.name), t.values, b.spare[:])
		out = appendColumn(out, t.ages, b.spare[:])
	}
	out = appendLatency(out, &b.latency)
	b.triggers, b.latency = b.triggers[:0], Histogram{}
	return out
}

func appendLatency(out []byte, h *Histogram) []byte {
	var used uint64
	for i, n := range h.Buckets {
		if n > 0 {
			used |= 1 << i
		}
	}
	out = binary.AppendUvarint(out, used)
	if used == 0 {
		return out
	}
	for _, n := range h.Buckets {
		if n > 0 {
			out = binary.AppendUvarint(out, n)
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

// ErrNoRecording says that a stream does not begin like a recording, ErrOtherForm that another version of Escale recorded it.
var (
	ErrNoRecording = errors.New("this is no recording of signals")
	ErrOtherForm   = errors.New("another version of Escale recorded this, in a form that this one does not read")
)
