package fastpath

import (
	"bytes"
	"slices"
)

// bodyKind is how an answer's body ends.
type bodyKind int

const (
	noBody     bodyKind = iota
	sizedBody           // after a number of bytes
	chunked             // with the last chunk
	untilClose          // with the connection
)

// response is the head of an answer.
type response struct {
	code   int
	reason []byte
	fields []field
	named  [][]byte // by the Connection field
	head   int
	body   bodyKind
	length int64
	// reusable says that the connection may take another request after this answer.
	reusable bool
	hasDate  bool

	version10, hasLength, close, keepAlive bool
}

// parse reads the head of an answer to a request of the method given.
func (r *response) parse(b []byte, toHead bool) verdict {
	*r = response{fields: r.fields[:0], named: r.named[:0]}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return responseShortOf(b)
	}
	if end == 0 || b[end-1] != '\r' || !r.parseLine(b[:end-1]) {
		return refused
	}
	fields, n, v := headFields(b[end+1:], r.fields)
	r.fields = fields
	switch v {
	case refused:
		return refused
	case incomplete:
		return responseShortOf(b)
	}
	r.head = end + 1 + n
	return r.readFields(toHead)
}

func responseShortOf(b []byte) verdict {
	if len(b) >= MaxResponseHead {
		return refused
	}
	return incomplete
}

// parseLine reads a status line such as "HTTP/1.1 200 OK". The reason may be missing, and so may the space before it.
func (r *response) parseLine(line []byte) bool {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return false
	}
	switch line[7] {
	case '0':
		r.version10 = true
	case '1':
	default:
		return false
	}
	code, ok := number(line[9:12])
	if !ok || code < 100 {
		return false
	}
	r.code = int(code)
	if len(line) > 12 {
		if line[12] != ' ' {
			return false
		}
		r.reason = line[13:]
	}
	return only(r.reason, isValue)
}

func (r *response) readFields(toHead bool) verdict {
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
	if len(r.named) > 0 {
		r.fields = slices.DeleteFunc(r.fields, r.isNamed)
	}
	r.frame(toHead)
	return complete
}

func (r *response) readField(f field) (keep, ok bool) {
	switch len(f.name) {
	case 2:
		return !equalFold(f.name, "te"), true
	case 4:
		r.hasDate = r.hasDate || equalFold(f.name, "date")
	case 7:
		if equalFold(f.name, "upgrade") {
			return false, true
		}
	case 10:
		if equalFold(f.name, "connection") {
			r.readConnection(f.value)
			return false, true
		}
		return !equalFold(f.name, "keep-alive"), true
	case 14:
		if equalFold(f.name, "content-length") {
			return false, r.readLength(f.value)
		}
	case 16:
		return !equalFold(f.name, "proxy-connection"), true
	case 17:
		if equalFold(f.name, "transfer-encoding") {
			return false, r.readEncoding(f.value)
		}
	case 18:
		return !equalFold(f.name, "proxy-authenticate"), true
	case 19:
		return !equalFold(f.name, "proxy-authorization"), true
	}
	return true, true
}

// readConnection reads the options of a Connection field, which may name fields that are for this connection only.
func (r *response) readConnection(v []byte) {
	for len(v) > 0 {
		option, rest, _ := bytes.Cut(v, comma)
		v = rest
		switch option = trim(option); {
		case len(option) == 0:
		case equalFold(option, "close"):
			r.close = true
		case equalFold(option, "keep-alive"):
			r.keepAlive = true
		default:
			r.named = append(r.named, option)
		}
	}
}

func (r *response) isNamed(f field) bool {
	return slices.ContainsFunc(r.named, func(option []byte) bool { return bytes.EqualFold(option, f.name) })
}

var comma = []byte{','}

func (r *response) readLength(v []byte) bool {
	n, ok := number(v)
	if !ok || r.hasLength && n != r.length {
		return false
	}
	r.hasLength, r.length = true, n
	return true
}

func (r *response) readEncoding(v []byte) bool {
	if r.body == chunked || r.version10 || !equalFold(v, "chunked") {
		return false
	}
	r.body = chunked
	return true
}

// frame decides where the body ends (RFC 9112 section 6.3).
func (r *response) frame(toHead bool) {
	r.reusable = !r.close && (!r.version10 || r.keepAlive)
	switch {
	case toHead || r.code < 200 || r.code == 204 || r.code == 304:
		// A length, or an encoding, would be that of the answer to GET.
		r.body = noBody
	case r.body == chunked:
		// A sender that gives a length too is not to be trusted with another request.
		r.reusable = r.reusable && !r.hasLength
		r.hasLength = false
	case r.hasLength && r.length == 0:
		r.body = noBody
	case r.hasLength:
		r.body = sizedBody
	default:
		r.body, r.reusable = untilClose, false
	}
}
