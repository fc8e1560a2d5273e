package fastpath

import (
	"bytes"
	"strconv"
)

// chunkReader follows the chunked encoding of a body and writes the same body in its plainest form: no extensions, no
// leading zeros, and of the trailer only fields that may stand there.
type chunkReader struct {
	state   chunkState
	size    int64 // of the chunk; what is left of it while in its data
	digits  int
	skipped int
	data    int64  // bytes of data so far
	line    []byte // of the trailer, as far as it came
	trailer int    // bytes of the trailer so far
}

type chunkState int

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkEnd
)

// Limits of what is not data.
const (
	maxChunkDigits    = 15
	maxChunkExtension = 4 << 10
	maxTrailer        = 8 << 10
)

// read takes bytes of the encoded body and appends what is to be sent. used is less than len(in) only after the end.
// It returns false for bytes that are not the chunked encoding.
func (c *chunkReader) read(in, out []byte) (sent []byte, used int, ok bool) {
	at := 0
	for at < len(in) && c.state != chunkEnd {
		switch c.state {
		case chunkData:
			n := int(min(c.size, int64(len(in)-at)))
			out = append(out, in[at:at+n]...)
			at += n
			c.data += int64(n)
			if c.size -= int64(n); c.size == 0 {
				c.state = chunkDataCR
			}
		case chunkTrailer:
			n := 0
			if out, n, ok = c.readTrailer(in[at:], out); !ok {
				return out, at, false
			}
			at += n
		default:
			if out, ok = c.readByte(in[at], out); !ok {
				return out, at, false
			}
			at++
		}
	}
	return out, at, true
}

// readByte takes a byte of what stands around the data.
func (c *chunkReader) readByte(b byte, out []byte) ([]byte, bool) {
	switch c.state {
	case chunkSize:
		return out, c.readSize(b)
	case chunkExtension:
		if b == '\r' {
			c.state = chunkSizeLF
			return out, true
		}
		c.skipped++
		return out, class[b]&isValue != 0 && c.skipped <= maxChunkExtension
	case chunkSizeLF:
		return c.begin(out), b == '\n'
	case chunkDataCR:
		c.state = chunkDataLF
		return out, b == '\r'
	default: // chunkDataLF
		c.state, c.digits, c.skipped = chunkSize, 0, 0
		return append(out, '\r', '\n'), b == '\n'
	}
}

func (c *chunkReader) readSize(b byte) bool {
	switch {
	case class[b]&isHex != 0:
		c.digits++
		c.size = c.size<<4 | int64(hexValue(b))
		return c.digits <= maxChunkDigits
	case c.digits == 0:
		return false
	case b == '\r':
		c.state = chunkSizeLF
		return true
	}
	c.state = chunkExtension
	return b == ';'
}

func hexValue(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b&^0x20 - 'A' + 10
}

// begin starts a chunk's data, or the trailer after the last chunk.
func (c *chunkReader) begin(out []byte) []byte {
	out = append(strconv.AppendInt(out, c.size, 16), '\r', '\n')
	c.state = chunkData
	if c.size == 0 {
		c.state = chunkTrailer
	}
	return out
}

// readTrailer takes the bytes of one trailer line, or as many as there are.
func (c *chunkReader) readTrailer(in, out []byte) ([]byte, int, bool) {
	end := bytes.IndexByte(in, '\n')
	n := end + 1
	if end < 0 {
		n = len(in)
	}
	if c.trailer += n; c.trailer > maxTrailer {
		return out, 0, false
	}
	c.line = append(c.line, in[:n]...)
	if end < 0 {
		return out, n, true
	}
	line := c.line
	c.line = c.line[:0]
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return out, n, false
	}
	if len(line) == 2 {
		c.state = chunkEnd
		return append(out, '\r', '\n'), n, true
	}
	f, ok := readField(line[:len(line)-2])
	if ok && mayTrail(f.name) {
		out = appendField(out, f)
	}
	return out, n, ok
}

// mayTrail says whether a field may stand in a trailer: not those that frame, route or authenticate
// (RFC 9110 section 6.5.1).
func mayTrail(name []byte) bool {
	switch string(bytes.ToLower(name)) {
	case "transfer-encoding", "content-length", "host", "connection", "keep-alive", "te", "trailer", "upgrade",
		"proxy-connection", "proxy-authenticate", "proxy-authorization", "authorization", "set-cookie", "content-encoding",
		"content-type", "content-range", "www-authenticate", "cache-control", "expect", "location", "date":
		return false
	}
	return true
}

func appendField(out []byte, f field) []byte {
	out = append(out, f.name...)
	out = append(out, ':', ' ')
	out = append(out, f.value...)
	return append(out, '\r', '\n')
}
