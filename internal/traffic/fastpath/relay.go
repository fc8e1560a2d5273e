package fastpath

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	errMalformed   = errors.New("malformed HTTP response")
	errUnexpected  = errors.New("the backend switched protocols without being asked")
	errManyInterim = errors.New("the backend sent too many interim answers")
)

// relay brings the answer to the client as fast as that takes it.
func (u *upstream) relay() {
	for range roundsPerTurn {
		c := u.client
		if u.phase == ended || !u.ready || c != nil && len(c.unsent) > 0 {
			return
		}
		if c == nil {
			// Nothing is expected here: it is the end, or bytes that belong to no request.
			u.ready = false
			if u.hup || !isSilent(u.fd) {
				u.close()
			}
			return
		}
		u.round()
	}
	u.later()
}

// round reads once.
func (u *upstream) round() {
	l := u.loop
	kept := copy(l.in, u.partial)
	if kept == len(l.in) {
		u.failed(errMalformed)
		return
	}
	n, err := receive(u.fd, l.in[kept:])
	switch {
	case err == unix.EAGAIN:
		u.ready = false
		return
	case err != 0:
		u.failed(err)
		return
	case n == 0:
		u.end()
		return
	}
	u.ready = kept+n == len(l.in) || u.hup
	if u.phase == expecting {
		u.readAnswer(l.in[:kept+n])
		return
	}
	u.readBody(l.out[:0], l.in[:n])
}

// readAnswer takes the head of an answer, and interim ones before it.
func (u *upstream) readAnswer(data []byte) {
	l, c := u.loop, u.client
	out := l.out[:0]
	for {
		r := &l.res
		switch r.parse(data, c.method.head) {
		case incomplete:
			u.partial = bytes.Clone(data)
			if len(out) > 0 {
				c.write(out)
			}
			return
		case refused:
			u.failed(errMalformed)
			return
		}
		if r.code >= 200 {
			u.partial = nil
			u.startAnswer(out, data)
			return
		}
		if u.interim++; u.interim > maxInterim {
			u.failed(errManyInterim)
			return
		}
		if r.code == 101 {
			u.failed(errUnexpected)
			return
		}
		if r.code != 100 {
			out = appendInterim(out, r)
		}
		data = data[r.head:]
	}
}

// startAnswer sends the head of the answer with what came of its body.
func (u *upstream) startAnswer(out, data []byte) {
	l, c, r := u.loop, u.client, &u.loop.res
	u.phase = answering
	u.body, u.left, u.reusable = r.body, r.length, r.reusable
	u.chunks = chunkReader{}
	c.closing = c.closing || c.bodyLeft > 0 || len(u.unsent) > 0 || l.draining
	c.answered = true
	l.server.router.Answered(&c.x, r.code, l.now)
	if c.raw != nil {
		l.giveBack(c.raw)
		c.raw = nil
	}
	out = appendResponse(out, r, c.x.Response, l.date, c.closing)
	u.readBody(out, data[r.head:])
}

// readBody sends bytes of the body, behind what is in out.
func (u *upstream) readBody(out, data []byte) {
	c := u.client
	out, done, ok := u.frame(out, data)
	if !ok {
		u.failed(errMalformed)
		return
	}
	if done {
		u.finish(out)
		return
	}
	if len(out) > 0 {
		c.write(out)
	}
}

// frame appends bytes of the body as the client gets them; done says that they are the last.
func (u *upstream) frame(out, data []byte) (sent []byte, done, ok bool) {
	used := 0
	switch u.body {
	case noBody:
		done = true
	case sizedBody:
		used = int(min(u.left, int64(len(data))))
		out = append(out, data[:used]...)
		u.left -= int64(used)
		u.client.sent += int64(used)
		done = u.left == 0
	case chunked:
		out, used, ok = u.chunks.read(data, out)
		if !ok {
			return out, false, false
		}
		u.client.sent = u.chunks.data
		done = u.chunks.state == chunkEnd
	case untilClose:
		used = len(data)
		u.client.sent += int64(used)
		if used > 0 {
			out = append(strconv.AppendInt(out, int64(used), 16), '\r', '\n')
			out = append(append(out, data...), '\r', '\n')
		}
	}
	if used < len(data) {
		u.reusable = false // it said more than the answer
	}
	return out, done, true
}

// finish sends the last bytes of an answer and goes on with the next request.
func (u *upstream) finish(out []byte) {
	c := u.client
	u.release()
	c.finish(Outcome{})
	if len(out) > 0 {
		c.write(out)
	}
	if c.state == flushing && len(c.unsent) == 0 {
		c.endAnswer()
	}
}

// end is the end of what the backend sends.
func (u *upstream) end() {
	if u.phase == answering && u.body == untilClose {
		u.finish(append(u.loop.out[:0], "0\r\n\r\n"...))
		return
	}
	u.failed(io.ErrUnexpectedEOF)
}

// failed ends an exchange whose backend broke off or cannot be understood. A request that can be repeated, and of whose
// answer no byte came, goes to the reference path: a connection that was open for long is often closed just when it is used.
func (u *upstream) failed(err error) {
	c := u.client
	silent := u.phase == expecting && len(u.partial) == 0 && u.interim == 0 && !errors.Is(err, errMalformed)
	if u.refused != nil && errors.Is(err, io.ErrUnexpectedEOF) {
		err = u.refused
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && silent {
		err = io.EOF
	}
	u.abandon()
	if silent && c.length == 0 && c.method.idempotent && u.loop.server.router.Repeat(&c.x, err, u.loop.now) {
		c.repeat(err)
		return
	}
	c.fail(BackendFailed, err)
}

// appendInterim writes an answer such as 103 Early Hints.
func appendInterim(out []byte, r *response) []byte {
	out = append(strconv.AppendInt(append(out, "HTTP/1.1 "...), int64(r.code), 10), ' ')
	out = append(out, r.reason...)
	out = append(out, '\r', '\n')
	out = appendFields(out, r.fields, nil)
	return append(out, '\r', '\n')
}
