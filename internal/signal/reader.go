package signal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// errDamaged ends a recording.
var errDamaged = errors.New("damaged record")

// chunkBytes is how much of a recording is read before its blocks are handed out, so that those of one workload follow
// each other: to go from one workload to the next costs more than a block does.
const chunkBytes = 4 << 20

// Reader reads a recording.
type Reader struct {
	in *bufio.Reader
	// Only says which workloads to read; nil is all. What is left out costs next to nothing.
	Only func(Workload) bool

	names []named
	torn  bool
	chunk []byte
	// waiting are the numbers of the workloads that have blocks in the chunk.
	waiting []uint64
	rows    Rows
}

// named is a workload of the recording.
type named struct {
	workload Workload
	wanted   bool
	// blocks are those of the chunk, by beginning and end.
	blocks [][2]int
}

// NewReader reads a recording from a stream.
func NewReader(in io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(in, 1<<18)} }

// Torn says, after Each, whether the recording ended within a record, as it does when the machine stops.
func (r *Reader) Torn() bool { return r.torn }

// Each calls f with all facts, one after the other, in the order of EachRows. The latency is kept for all rows together:
// the last of them holds it, the others none. The Facts are valid during the call only.
func (r *Reader) Each(f func(Workload, *Facts) error) error {
	var facts Facts
	return r.EachRows(func(rows *Rows) error {
		for i := range rows.Len() {
			rows.Facts(i, &facts)
			if err := f(rows.Workload, &facts); err != nil {
				return err
			}
		}
		return nil
	})
}

// EachRows calls f with all facts: those of one workload in the order of time, a minute at a time, those of different
// workloads some minutes of one after some of another. The Rows are valid during the call only. EachRows ends with the
// recording, or with f's first error; a stream that is no recording is ErrNoRecording, one of another version
// ErrOtherForm.
func (r *Reader) EachRows(f func(*Rows) error) error {
	if err := r.begin(); err != nil {
		return err
	}
	for {
		end := r.record()
		if end == nil && len(r.chunk) < chunkBytes {
			continue
		}
		if err := r.handOut(f); err != nil {
			return r.end(err)
		}
		if end != nil {
			return r.end(end)
		}
	}
}

// end is what an error means that ends the recording.
func (r *Reader) end(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, errDamaged), errors.Is(err, io.ErrUnexpectedEOF):
		r.torn = true
		return nil
	}
	return err
}

// begin reads the header.
func (r *Reader) begin() error {
	head := make([]byte, len(recordingMagic))
	_, err := io.ReadFull(r.in, head)
	switch {
	case string(head) == recordingMagic:
		return nil
	case err == nil && string(head[:len(magicStem)]) == magicStem:
		return ErrOtherForm
	}
	return errors.Join(ErrNoRecording, ignoreEnd(err))
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// handOut calls f with the blocks of the chunk, workload by workload, and empties it.
func (r *Reader) handOut(f func(*Rows) error) error {
	for _, number := range r.waiting {
		n := &r.names[number]
		for _, b := range n.blocks {
			if err := r.rows.take(n.workload, r.chunk[b[0]:b[1]]); err != nil {
				return err
			}
			if err := f(&r.rows); err != nil {
				return err
			}
		}
		n.blocks = n.blocks[:0]
	}
	r.waiting, r.chunk = r.waiting[:0], r.chunk[:0]
	return nil
}

// record reads one into the chunk.
func (r *Reader) record() error {
	kind, err := r.in.ReadByte()
	if err != nil {
		return err
	}
	length, err := binary.ReadUvarint(r.in)
	if err != nil {
		return cutOff(err)
	}
	if length > maxRecord {
		return errDamaged
	}
	begin := len(r.chunk)
	end := begin + int(length)
	if cap(r.chunk) < end+4 {
		r.chunk = append(make([]byte, 0, max(2*cap(r.chunk), end+4, 1<<16)), r.chunk...)
	}
	whole := r.chunk[begin : end+4]
	if _, err := io.ReadFull(r.in, whole); err != nil {
		return cutOff(err)
	}
	payload := whole[:length]
	if checksum(kind, payload) != binary.LittleEndian.Uint32(whole[length:]) {
		return errDamaged
	}
	switch kind {
	case recordName:
		return r.name(payload)
	case recordBlock:
		return r.block(payload, begin)
	}
	return nil // of a later version
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

func (r *Reader) name(payload []byte) error {
	p := parser{b: payload}
	w := Workload{Kind: p.string(), Namespace: p.string(), Name: p.string()}
	if p.bad {
		return errDamaged
	}
	r.names = append(r.names, named{workload: w, wanted: r.Only == nil || r.Only(w)})
	return nil
}

// block keeps one that is wanted for later.
func (r *Reader) block(payload []byte, begin int) error {
	p := parser{b: payload}
	number := p.uvarint()
	if p.bad || number >= uint64(len(r.names)) {
		return errDamaged
	}
	n := &r.names[number]
	if !n.wanted {
		return nil
	}
	if len(n.blocks) == 0 {
		r.waiting = append(r.waiting, number)
	}
	end := begin + len(payload)
	n.blocks = append(n.blocks, [2]int{end - len(p.b), end})
	r.chunk = r.chunk[:end]
	return nil
}

// parser takes numbers off a payload. After the first that is not there, bad is set and all are zero.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) uvarint() uint64 {
	if len(p.b) > 0 && p.b[0] < 0x80 {
		n := p.b[0]
		p.b = p.b[1:]
		return uint64(n)
	}
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
