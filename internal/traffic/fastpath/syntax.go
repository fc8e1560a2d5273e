package fastpath

import "bytes"

// The character classes of RFC 9110 section 5.6.2 and RFC 3986, as sets in one table.
const (
	isToken = 1 << iota // a method, or the name of a header field
	isValue             // the value of a header field: all but control characters; a tab counts
	isPath              // a path that needs no thought: no "%", and nothing that net/url would escape
	isQuery             // all that can be seen, except "#"
	isHost              // a host name, an address or a port
	isDigit
	isHex
)

var class = classes()

func classes() (table [256]uint8) {
	mark := func(bit uint8, chars string) {
		for i := range len(chars) {
			table[chars[i]] |= bit
		}
	}
	const (
		digits = "0123456789"
		alpha  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	)
	mark(isToken, alpha+digits+"!#$%&'*+-.^_`|~")
	mark(isPath, alpha+digits+"/-._~!$&'()*+,;=:@[]")
	mark(isHost, alpha+digits+"-._:[]")
	mark(isDigit|isHex, digits)
	mark(isHex, "abcdefABCDEF")
	for c := 0; c < 256; c++ {
		if c == '\t' || c >= ' ' && c != 0x7f {
			table[c] |= isValue
		}
		if c > ' ' && c < 0x7f && c != '#' {
			table[c] |= isQuery
		}
	}
	return table
}

// only says that every byte is of the class.
func only(b []byte, bit uint8) bool {
	for _, c := range b {
		if class[c]&bit == 0 {
			return false
		}
	}
	return true
}

// equalFold compares with a word in lower case, ASCII letters regardless of their case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trim cuts optional white space: spaces and tabs.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// field is a header field line, without its end. The slices are parts of the head.
type field struct{ name, value []byte }

// verdict is what a parser says of the bytes so far.
type verdict int

const (
	incomplete verdict = iota // more bytes may make it complete
	complete
	refused // this path does not take it
)

// maxFields bounds the header fields of a head on this path.
const maxFields = 128

// headFields reads field lines up to the empty line. It takes only lines that end with CR LF, a name that is a token with
// the colon right behind it, and no folded line. The number is how many bytes the lines and the empty line have.
func headFields(b []byte, fields []field) ([]field, int, verdict) {
	at := 0
	for {
		rest := b[at:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return fields, 0, incomplete
		}
		if end == 0 || rest[end-1] != '\r' {
			return fields, 0, refused
		}
		line := rest[:end-1]
		at += end + 1
		if len(line) == 0 {
			return fields, at, complete
		}
		f, ok := readField(line)
		if !ok || len(fields) == maxFields {
			return fields, 0, refused
		}
		fields = append(fields, f)
	}
}

func readField(line []byte) (field, bool) {
	colon := 0
	for colon < len(line) && class[line[colon]]&isToken != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return field{}, false
	}
	value := trim(line[colon+1:])
	return field{line[:colon], value}, only(value, isValue)
}

// number reads a decimal number without sign or white space, as Content-Length has. It refuses what could overflow.
func number(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if class[c]&isDigit == 0 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
