package fastpath

import (
	"strconv"
	"time"
)

// Router is what embeds this path: it knows the routes. Its methods are called on the loops, several at a time; they
// must not block, and should not allocate for a request that goes well.
type Router interface {
	// Route decides where a request goes and fills the exchange. After Forward, Done follows exactly once.
	Route(r *Request, x *Exchange) Way
	// Dialled tells how long a connection took to make, or why there is none.
	Dialled(x *Exchange, took time.Duration, err error)
	// Answered tells that the head of the backend's answer is there.
	Answered(x *Exchange, code int, now time.Time)
	// Repeat is asked when the backend broke off without a byte of answer and the request means the same twice: true
	// lends it to the reference path.
	Repeat(x *Exchange, err error, now time.Time) bool
	// Explain gives the answer to a request that no backend answered; the error is nil where the reason says all.
	Explain(x *Exchange, reason Reason, err error) (code int, text string)
	// Done tells how an exchange ended.
	Done(x *Exchange, o Outcome)
}

// Way is which path takes a request.
type Way int

const (
	// Forward says that this path does.
	Forward Way = iota
	// Lend says that the reference path takes this request, and this path the next ones of the connection.
	Lend
	// HandOver says that the reference path takes the connection for good.
	HandOver
)

// Exchange is a request on its way. The router fills all but Started.
type Exchange struct {
	Started  time.Time
	Upstream *Upstream
	// Timeout is how long the exchange may take up to the last byte of the answer, BackendTimeout the same for the
	// attempt at one backend. 0: no limit.
	Timeout, BackendTimeout time.Duration
	// Request and Response change the header; nil leaves it.
	Request, Response *HeaderChange
	// Owner is for the router.
	Owner any
}

// HeaderChange changes the header fields of a message: first some are dropped, then lines are added.
type HeaderChange struct {
	// Drop names fields, in lower case.
	Drop []string
	// Lines are added as they are, each with its CR LF.
	Lines []byte
}

func (h *HeaderChange) drops(name []byte) bool {
	for _, d := range h.Drop {
		if equalFold(name, d) {
			return true
		}
	}
	return false
}

// Outcome is how an exchange ended.
type Outcome struct {
	// Reason is Succeeded, or why the answer is not the backend's or is not whole; Err says more of BackendFailed.
	Reason Reason
	Err    error
	// In and Out are the bytes of the request's and of the answer's body.
	In, Out int64
	Now     time.Time
	// Lent says that the reference path goes on with the request, and counts it.
	Lent bool
}

// Reason is why no backend answered.
type Reason int

const (
	// Succeeded is an end that went well.
	Succeeded Reason = iota
	// BackendFailed says that the connection broke, or the answer could not be understood.
	BackendFailed
	// RequestTimeout says that Exchange.Timeout passed.
	RequestTimeout
	// BackendTimeout says that Exchange.BackendTimeout passed.
	BackendTimeout
	// RequestTooSlow says that the body came slower than SlowBody allows.
	RequestTooSlow
	// ClientGone says that the client closed its side.
	ClientGone
)

// appendRequest writes a request's head as it is sent to a backend.
func appendRequest(out []byte, r *Request, x *Exchange, clientAddress string) []byte {
	out = append(out, r.Method...)
	out = append(out, ' ')
	out = append(out, r.target...)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, r.Host...)
	out = append(out, '\r', '\n')
	out = appendFields(out, r.fields, x.Request)
	if r.length > 0 || expectsLength(r.Method) {
		out = appendLength(out, r.length)
	}
	out = append(out, "X-Forwarded-For: "...)
	out = append(out, clientAddress...)
	out = append(out, "\r\nX-Forwarded-Host: "...)
	out = append(out, r.Host...)
	return append(out, "\r\nX-Forwarded-Proto: http\r\n\r\n"...)
}

// appendFields writes fields and what the change adds.
func appendFields(out []byte, fields []field, change *HeaderChange) []byte {
	if change == nil {
		for _, f := range fields {
			out = appendField(out, f)
		}
		return out
	}
	for _, f := range fields {
		if !change.drops(f.name) {
			out = appendField(out, f)
		}
	}
	return append(out, change.Lines...)
}

// appendResponse writes the head of an answer as the client gets it. date is the Date field, used if the backend sent
// none.
func appendResponse(out []byte, r *response, change *HeaderChange, date []byte, closing bool) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = append(out, byte('0'+r.code/100), byte('0'+r.code/10%10), byte('0'+r.code%10), ' ')
	out = append(out, r.reason...)
	out = append(out, '\r', '\n')
	out = appendFields(out, r.fields, change)
	if !r.hasDate {
		out = append(out, date...)
	}
	switch {
	case r.hasLength && r.code != 204:
		out = appendLength(out, r.length)
	case r.body == chunked, r.body == untilClose:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	if closing {
		out = append(out, "Connection: close\r\n"...)
	}
	return append(out, '\r', '\n')
}

func appendLength(out []byte, n int64) []byte {
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, n, 10)
	return append(out, '\r', '\n')
}
