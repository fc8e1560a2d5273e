package fastpath

import (
	"bytes"
	"iter"
	"unsafe"
)

// Request is the head of a request that this path understood. Its slices are valid only during the call that got it.
type Request struct {
	Method, Host, Path []byte
	// Query is what follows the question mark; HasQuery tells an empty one from none.
	Query    []byte
	HasQuery bool

	fields []field
	target []byte
	// length is the length of the body, 0 for none; head the length of the head, in bytes.
	length    int64
	head      int
	hasLength bool
	close     bool
}

// Fields yields the names and values of the header fields that are sent on, as they came.
func (r *Request) Fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := range r.fields {
			if !yield(r.fields[i].name, r.fields[i].value) {
				return
			}
		}
	}
}

// HeaderHolds says whether a header field, named in lower case, has the text anywhere in its values.
func (r *Request) HeaderHolds(lower, text string) bool {
	for i := range r.fields {
		if equalFold(r.fields[i].name, lower) && bytes.Contains(r.fields[i].value, unsafe.Slice(unsafe.StringData(text), len(text))) {
			return true
		}
	}
	return false
}

// Special says that a field, named in lower case, frames a message, addresses it, or is set here: no HeaderChange may
// have it.
func Special(lower string) bool {
	switch lower {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
		"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "http2-settings", "proxy-connection",
		"proxy-authenticate", "proxy-authorization", "date", "user-agent":
		return true
	}
	return false
}

// maxHead is the longest head this path takes; the reference path answers for longer ones.
const maxHead = 16 << 10

// parse reads a head. It takes what is unambiguous and needs no thought, and refuses all else:
// the reference path then takes it or answers why not.
func (r *Request) parse(b []byte) verdict {
	*r = Request{fields: r.fields[:0]}
	if len(b) > 0 && (b[0] < 'A' || b[0] > 'Z') {
		return refused // such as TLS, whose first message need not have a line feed
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return shortOf(b)
	}
	if end == 0 || b[end-1] != '\r' || !r.parseLine(b[:end-1]) {
		return refused
	}
	fields, n, v := headFields(b[end+1:], r.fields)
	r.fields = fields
	r.head = end + 1 + n
	switch {
	case v == refused || v == complete && r.head > maxHead:
		return refused
	case v == incomplete:
		return shortOf(b)
	}
	return r.readFields()
}

func shortOf(b []byte) verdict {
	if len(b) > maxHead {
		return refused
	}
	return incomplete
}

const version11 = " HTTP/1.1"

// parseLine reads the request line: a method, a path with a query, and HTTP/1.1, with one space between each.
func (r *Request) parseLine(line []byte) bool {
	if len(line) < len(version11) || string(line[len(line)-len(version11):]) != version11 {
		return false
	}
	line = line[:len(line)-len(version11)]
	space := bytes.IndexByte(line, ' ')
	if space <= 0 || !plainMethod(line[:space]) {
		return false
	}
	r.Method, r.target = line[:space], line[space+1:]
	r.Path = r.target
	if i := bytes.IndexByte(r.target, '?'); i >= 0 {
		r.Path, r.Query, r.HasQuery = r.target[:i], r.target[i+1:], true
	}
	return plainPath(r.Path) && only(r.Query, isQuery)
}

// plainMethod takes methods of capital letters, except CONNECT.
func plainMethod(m []byte) bool {
	for _, c := range m {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(m) <= 16 && string(m) != "CONNECT"
}

// plainPath takes an absolute path that is the same decoded, and has no segment that starts with a dot.
func plainPath(p []byte) bool {
	if len(p) == 0 || p[0] != '/' {
		return false
	}
	dot := true
	for _, c := range p {
		if class[c]&isPath == 0 || c == '.' && dot {
			return false
		}
		dot = c == '/'
	}
	return true
}

// readFields reads the fields that decide how the request is framed and sent on.
func (r *Request) readFields() verdict {
	kept := r.fields[:0]
	for _, f := range r.fields {
		keep, ok := r.readField(f)
		if !ok {
			return refused
		}
		if keep {
			kept = append(kept, f)
		}
	}
	r.fields = kept
	if len(r.Host) == 0 {
		return refused
	}
	return complete
}

// readField says whether a field is sent on, and whether this path takes a request that has it.
func (r *Request) readField(f field) (keep, ok bool) {
	switch len(f.name) {
	case 2:
		return true, !equalFold(f.name, "te")
	case 4:
		if equalFold(f.name, "host") {
			return false, r.readHost(f.value)
		}
	case 6:
		return true, !equalFold(f.name, "expect")
	case 7:
		return true, !equalFold(f.name, "upgrade") && !equalFold(f.name, "trailer")
	case 9:
		return !equalFold(f.name, "forwarded"), true
	case 10:
		if equalFold(f.name, "connection") {
			return false, r.readConnection(f.value)
		}
		return !equalFold(f.name, "keep-alive"), true
	case 14:
		if equalFold(f.name, "content-length") {
			return false, r.readLength(f.value)
		}
		return true, !equalFold(f.name, "http2-settings")
	case 15, 16, 17, 18, 19:
		return r.readLongField(f)
	}
	return true, true
}

func (r *Request) readLongField(f field) (keep, ok bool) {
	switch {
	case equalFold(f.name, "x-forwarded-for"), equalFold(f.name, "x-forwarded-host"), equalFold(f.name, "x-forwarded-proto"):
		return false, true
	case equalFold(f.name, "transfer-encoding"), equalFold(f.name, "proxy-connection"),
		equalFold(f.name, "proxy-authenticate"), equalFold(f.name, "proxy-authorization"):
		return false, false
	}
	return true, true
}

func (r *Request) readHost(v []byte) bool {
	if len(r.Host) > 0 || len(v) == 0 {
		return false
	}
	r.Host = v
	return only(v, isHost)
}

func (r *Request) readConnection(v []byte) bool {
	if equalFold(v, "close") {
		r.close = true
		return true
	}
	return equalFold(v, "keep-alive")
}

func (r *Request) readLength(v []byte) (ok bool) {
	if r.hasLength {
		return false
	}
	r.hasLength = true
	r.length, ok = number(v)
	return ok
}

// idempotent says whether the method may be repeated (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// expectsLength says that a request without a body says so: its method is one that usually has one.
func expectsLength(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}
