package signal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// errDamaged ends a recording.
var errDamaged = errors.New("damaged record")

// Reader reads a recording.
type Reader struct {
	in *bufio.Reader
	// Only says which workloads to read; nil is all. What is left out costs next to nothing.
	Only func(Workload) bool

	names   []Workload
	wanted  []bool
	payload []byte
	torn    bool
	decoder decoder
}

// NewReader reads a recording from a stream.
func NewReader(in io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(in, 1<<18)} }

// Torn says, after Each, whether the recording ended within a record, as it does when the machine stops.
func (r *Reader) Torn() bool { return r.torn }

// Each calls f with all facts: those of one workload in the order of time, those of different workloads a block of one
// after a block of another. The latency is kept for a block, about a minute: the block's last facts hold it, the others
// none. The Facts are valid during the call only. Each ends with the recording, or with f's first error; a stream that is
// no recording is ErrNoRecording.
func (r *Reader) Each(f func(Workload, *Facts) error) error {
	head := make([]byte, len(recordingMagic))
	if _, err := io.ReadFull(r.in, head); err != nil || string(head) != recordingMagic {
		return errors.Join(ErrNoRecording, ignoreEnd(err))
	}
	for {
		kind, err := r.next()
		if err == nil {
			err = r.record(kind, f)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errDamaged), errors.Is(err, io.ErrUnexpectedEOF):
			r.torn = true
			return nil
		default:
			return err
		}
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// next reads a record into payload.
func (r *Reader) next() (kind byte, err error) {
	if kind, err = r.in.ReadByte(); err != nil {
		return 0, err
	}
	length, err := binary.ReadUvarint(r.in)
	if err != nil {
		return 0, cutOff(err)
	}
	if length > maxRecord {
		return 0, errDamaged
	}
	if uint64(cap(r.payload)) < length+4 {
		r.payload = make([]byte, length+4)
	}
	r.payload = r.payload[:length+4]
	if _, err := io.ReadFull(r.in, r.payload); err != nil {
		return 0, cutOff(err)
	}
	sum := binary.LittleEndian.Uint32(r.payload[length:])
	r.payload = r.payload[:length]
	if checksum(kind, r.payload) != sum {
		return 0, errDamaged
	}
	return kind, nil
}

// cutOff makes an end where none should be one that says so.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errors.Join(errDamaged, err)
}

func (r *Reader) record(kind byte, f func(Workload, *Facts) error) error {
	p := parser{b: r.payload}
	switch kind {
	case recordName:
		w := Workload{Kind: p.string(), Namespace: p.string(), Name: p.string()}
		if p.bad {
			return errDamaged
		}
		r.names = append(r.names, w)
		r.wanted = append(r.wanted, r.Only == nil || r.Only(w))
		return nil
	case recordBlock:
		number := p.uvarint()
		if p.bad || number >= uint64(len(r.names)) {
			return errDamaged
		}
		if !r.wanted[number] {
			return nil
		}
		return r.decoder.each(&p, r.names[number], f)
	}
	return nil // of a later version
}

// parser takes numbers off a payload. After the first that is not there, bad is set and all are zero.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) uvarint() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.b, p.bad = nil, true
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *parser) varint() int64 {
	n := p.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (p *parser) byte() byte {
	if len(p.b) == 0 {
		p.bad = true
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return c
}

func (p *parser) string() string {
	n := p.uvarint()
	if n > maxString || n > uint64(len(p.b)) {
		p.b, p.bad = nil, true
		return ""
	}
	s := string(p.b[:n])
	p.b = p.b[n:]
	return s
}

// decoder turns blocks into facts. It keeps its memory for the next block.
type decoder struct {
	facts    Facts
	rows     [len(columns)]decoded
	triggers []triggerColumns
	// varying are the columns that differ between rows, or whose meaning does.
	varying []int
}

// decoded is a column; values is empty where all rows have the first one.
type decoded struct {
	first  int64
	values []int64
	memory []int64
}

type triggerColumns struct {
	name         string
	values, ages decoded
}

func (c *decoded) at(row int) int64 {
	if len(c.values) == 0 {
		return c.first
	}
	return c.values[row]
}

// read takes a column of so many rows off the payload.
func (c *decoded) read(p *parser, rows int) {
	c.first, c.values = 0, nil
	form := p.byte()
	switch form {
	case columnZero:
		return
	case columnConstant:
		c.first = p.varint()
		return
	case columnLinear, columnDifferences:
	default:
		p.bad = true
		return
	}
	if cap(c.memory) < rows {
		c.memory = make([]int64, rows)
	}
	c.values = c.memory[:rows]
	if form == columnLinear {
		value, step := p.varint(), p.varint()
		for i := range c.values {
			c.values[i] = value
			value += step
		}
		return
	}
	c.readDifferences(p)
}

// readDifferences is most of the work of reading, so it looks at the payload itself where a number is one byte or two.
func (c *decoded) readDifferences(p *parser) {
	var value int64
	b := p.b
	for i := range c.values {
		var n uint64
		switch {
		case len(b) > 1 && b[0] < 0x80:
			n, b = uint64(b[0]), b[1:]
		case len(b) > 2 && b[1] < 0x80:
			n, b = uint64(b[0]&0x7f)|uint64(b[1])<<7, b[2:]
		default:
			p.b = b
			n = p.uvarint()
			b = p.b
		}
		value += int64(n>>1) ^ -int64(n&1)
		c.values[i] = value
	}
	p.b = b
}

// each decodes a block and calls f with its rows.
func (d *decoder) each(p *parser, w Workload, f func(Workload, *Facts) error) error {
	rows := p.uvarint()
	if rows == 0 || rows > maxRows {
		return errDamaged
	}
	for i := range d.rows {
		d.rows[i].read(p, int(rows))
	}
	d.readTriggers(p, int(rows))
	latency := readLatency(p)
	if p.bad {
		return errDamaged
	}
	d.begin()
	for row := range int(rows) {
		d.fill(row)
		if row == int(rows)-1 {
			d.facts.Latency = latency
		}
		if err := f(w, &d.facts); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) readTriggers(p *parser, rows int) {
	n := p.uvarint()
	if n > maxBlockTriggers {
		p.bad = true
		return
	}
	for len(d.triggers) < int(n) {
		d.triggers = append(d.triggers, triggerColumns{})
	}
	d.triggers = d.triggers[:n]
	for i := range d.triggers {
		t := &d.triggers[i]
		t.name = p.string()
		t.values.read(p, rows)
		t.ages.read(p, rows)
	}
}

func readLatency(p *parser) (h Histogram) {
	used := p.uvarint()
	if used > uint64(len(h.Buckets)) {
		p.bad = true
	}
	if used == 0 || p.bad {
		return h
	}
	for range used {
		bucket := int(p.byte())
		count := p.uvarint()
		if bucket >= len(h.Buckets) {
			p.bad = true
			return h
		}
		h.Buckets[bucket] = count
	}
	h.Sum = float64(p.uvarint()) / 1e6
	return h
}

// begin sets what all rows have in common. Ages count from the time of their row, but for those that are not known.
func (d *decoder) begin() {
	d.facts = Facts{Lags: d.facts.Lags[:0]}
	d.varying = d.varying[:0]
	for i := 1; i < len(columns); i++ {
		c := &d.rows[i]
		if len(c.values) > 0 || i <= ageColumns && c.first > 0 {
			d.varying = append(d.varying, i)
			continue
		}
		columns[i].set(&d.facts, c.first)
	}
}

// fill makes the facts those of a row.
func (d *decoder) fill(row int) {
	f := &d.facts
	f.At = time.Unix(d.rows[0].at(row), 0)
	for _, i := range d.varying {
		columns[i].set(f, d.rows[i].at(row))
	}
	f.Lags = f.Lags[:0]
	for i := range d.triggers {
		t := &d.triggers[i]
		if age := t.ages.at(row); age > 0 {
			f.Lags = append(f.Lags, Lag{Trigger: t.name, Value: float64(t.values.at(row)) / 1000, At: observedAt(f.At, age)})
		}
	}
}

// ageColumns is how many columns after the first count from its time.
const ageColumns = 2
