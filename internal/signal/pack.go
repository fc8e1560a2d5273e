package signal

import (
	"encoding/binary"
	"math/bits"
)

// The forms of a column; see recordingMagic.
const (
	columnZero = iota
	columnConstant
	columnLinear
	columnPacked
	columnDifferences
	columnSteps
)

// maxWidth is how many bits a packed number may have, so that eight bytes hold one wherever it begins.
const maxWidth = 56

// packing is numbers as multiples of a unit above the lowest of them.
type packing struct {
	base  int64
	unit  uint64
	width int
}

// packingOf finds the coarsest unit that keeps all numbers as they are.
func packingOf(values []int64) packing {
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	var unit uint64
	for _, v := range values {
		if unit = divisor(uint64(v-low), unit); unit == 1 {
			break
		}
	}
	unit = max(unit, 1)
	return packing{low, unit, bits.Len64(uint64(high-low) / unit)}
}

// divisor is the greatest that two numbers have in common; of 0 and another number it is the other.
func divisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// bytes is how long so many packed numbers are.
func (p packing) bytes(n int) int { return (n*p.width + 7) / 8 }

func (p packing) append(b []byte, values []int64) []byte {
	b = binary.AppendVarint(b, p.base)
	b = binary.AppendUvarint(b, p.unit)
	b = append(b, byte(p.width))
	var word uint64
	var filled int
	for _, v := range values {
		n := uint64(v-p.base) / p.unit
		word |= n << filled
		if filled += p.width; filled < 64 {
			continue
		}
		b = binary.LittleEndian.AppendUint64(b, word)
		filled -= 64
		word = n >> (p.width - filled)
	}
	for ; filled > 0; filled -= 8 {
		b = append(b, byte(word))
		word >>= 8
	}
	return b
}

// appendColumn writes a column in the shortest form there is; spare is memory it may use.
func appendColumn(b []byte, values, spare []int64) []byte {
	steps, linear := 0, true
	differences := spare[:0]
	for i := 1; i < len(values); i++ {
		d := values[i] - values[i-1]
		if differences = append(differences, d); d != 0 {
			steps++
		}
		linear = linear && d == differences[0]
	}
	switch {
	case steps == 0 && values[0] == 0:
		return append(b, columnZero)
	case steps == 0:
		return binary.AppendVarint(append(b, columnConstant), values[0])
	case linear:
		return binary.AppendVarint(binary.AppendVarint(append(b, columnLinear), values[0]), differences[0])
	}
	plain, apart := packingOf(values), packingOf(differences)
	shortest := min(plain.bytes(len(values)), apart.bytes(len(differences))+2)
	if steps*2 < shortest {
		if stepped := appendSteps(b, values); len(stepped)-len(b) < shortest+4 {
			return stepped
		}
	}
	if plain.bytes(len(values)) == shortest {
		return plain.append(append(b, columnPacked), values)
	}
	return apart.append(binary.AppendVarint(append(b, columnDifferences), values[0]), differences)
}

// appendSteps writes the first value and where it changes by how much.
func appendSteps(b []byte, values []int64) []byte {
	b = binary.AppendVarint(append(b, columnSteps), values[0])
	last := 0
	for i := 1; i < len(values); i++ {
		if values[i] == values[i-1] {
			continue
		}
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendVarint(b, values[i]-values[i-1])
		last = i
	}
	return append(b, 0)
}

// skipColumn takes a column of so many rows off the payload without looking at its values.
func (p *parser) skipColumn(rows int) {
	switch p.byte() {
	case columnZero:
	case columnConstant:
		p.varint()
	case columnLinear:
		p.varint()
		p.varint()
	case columnPacked:
		p.skipPacked(rows)
	case columnDifferences:
		p.varint()
		p.skipPacked(rows - 1)
	case columnSteps:
		p.varint()
		for row := uint64(0); !p.bad; {
			n := p.uvarint()
			if n == 0 {
				return
			}
			if row += min(n, maxRows); row >= uint64(rows) {
				p.bad = true
			}
			p.varint()
		}
	default:
		p.bad = true
	}
}

func (p *parser) skipPacked(n int) { _, _ = p.packing(n) }

// packing takes packed numbers off the payload, and returns all that follows their beginning.
func (p *parser) packing(n int) (packing, []byte) {
	k := packing{base: p.varint(), unit: p.uvarint(), width: int(p.byte())}
	if k.width > maxWidth || p.bad || k.bytes(n) > len(p.b) {
		p.b, p.bad = nil, true
		return packing{}, nil
	}
	b := p.b
	p.b = p.b[k.bytes(n):]
	return k, b
}

// readColumn decodes a column that skipColumn found to be whole.
func (p *parser) readColumn(values []int64) {
	switch p.byte() {
	case columnConstant:
		fill(values, p.varint(), 0)
	case columnLinear:
		first := p.varint()
		fill(values, first, p.varint())
	case columnPacked:
		k, b := p.packing(len(values))
		k.read(b, values)
	case columnDifferences:
		values[0] = p.varint()
		k, b := p.packing(len(values) - 1)
		k.read(b, values[1:])
		for i := 1; i < len(values); i++ {
			values[i] += values[i-1]
		}
	case columnSteps:
		p.readSteps(values)
	default:
		clear(values)
	}
}

func fill(values []int64, value, step int64) {
	for i := range values {
		values[i] = value
		value += step
	}
}

func (p *parser) readSteps(values []int64) {
	value := p.varint()
	for {
		n := int(p.uvarint())
		if n == 0 || n > len(values) {
			fill(values, value, 0)
			return
		}
		fill(values[:n], value, 0)
		values = values[n:]
		value += p.varint()
	}
}

// read unpacks numbers. It is most of the work of reading, so it takes eight bytes at a time while there are so many.
func (p packing) read(b []byte, values []int64) {
	mask := uint64(1)<<p.width - 1
	unit := int64(p.unit)
	bit, i := 0, 0
	for ; i < len(values) && bit>>3+8 <= len(b); i++ {
		word := binary.LittleEndian.Uint64(b[bit>>3:])
		values[i] = p.base + unit*int64(word>>(bit&7)&mask)
		bit += p.width
	}
	for ; i < len(values); i++ {
		var rest [8]byte
		copy(rest[:], b[bit>>3:])
		values[i] = p.base + unit*int64(binary.LittleEndian.Uint64(rest[:])>>(bit&7)&mask)
		bit += p.width
	}
}

// The precision of what is measured: one part in 512 of a value, or one in 2,048 of the highest beside it.
const (
	ownPrecision   = 9
	blockPrecision = 11
)

// round makes numbers multiples of the highest power of two that keeps each within the precision. What is not 0 does not
// become 0.
func round(values []int64) {
	var high int64
	for _, v := range values {
		high = max(high, magnitude(v))
	}
	for shift := bits.Len64(uint64(high)); shift > 0; shift-- {
		if !rounds(values, shift, high>>blockPrecision) {
			continue
		}
		for i, v := range values {
			values[i] = nearest(v, shift)
		}
		return
	}
}

// rounds says whether all numbers may be rounded to multiples of 1<<shift.
func rounds(values []int64, shift int, tolerance int64) bool {
	for _, v := range values {
		n := nearest(v, shift)
		if magnitude(n-v) > max(tolerance, magnitude(v)>>ownPrecision) || n == 0 && v != 0 {
			return false
		}
	}
	return true
}

func nearest(v int64, shift int) int64 { return (v + 1<<(shift-1)) >> shift << shift }

func magnitude(v int64) int64 { return max(v, -v) }
