package traffic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Why a request's body did not come to its end.
var (
	errBodyTooSlow = errors.New("the request's body came too slowly")
	errBadBody     = errors.New("the request's body is malformed")
	errClientGone  = errors.New("the client went away")
)

// body is a request's body on its way. It remembers whether it was read, and is not closed by a failed attempt: the
// proxy closes the one below.
type body struct {
	io.ReadCloser
	pace  pace
	read  atomic.Bool
	bytes atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	b.read.Store(true)
	b.pace.allow(b.bytes.Load())
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	if errors.Is(err, io.EOF) {
		b.pace.stop()
	} else if err != nil {
		err = bodyError(err)
	}
	return n, err
}

func (b *body) Close() error { return nil }

// bodyError says whose fault it is that a body cannot be read: never the backend's.
func bodyError(err error) error {
	var netErr net.Error
	switch {
	case errors.Is(err, io.EOF):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTooSlow
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &netErr):
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return fmt.Errorf("%w: %w", errBadBody, err)
}

// pace ends the reading of a body that comes too slowly. The zero value lets it take its time.
type pace struct {
	until    func(time.Time) error // sets the deadline of reading; nil for none
	started  time.Time
	grace    time.Duration
	known    bool         // the length of the body is known
	deadline atomic.Int64 // Unix nanoseconds; 0 for none
}

// start begins to time a request's body. One of HTTP/2 whose length is not known may be a stream of messages with long
// pauses.
func (p *pace) start(w http.ResponseWriter, r *http.Request, now time.Time, grace time.Duration) {
	if r.Body == http.NoBody || r.ContentLength < 0 && r.ProtoMajor > 1 {
		return
	}
	p.until, p.started, p.grace, p.known = http.NewResponseController(w).SetReadDeadline, now, grace, r.ContentLength >= 0
}

// allow moves the deadline on for what has come.
func (p *pace) allow(received int64) {
	if p.until == nil {
		return
	}
	next := bodyDeadline(p.started, p.grace, received)
	if !p.known {
		next = time.Now().Add(bodyStall)
	}
	if next.Sub(time.Unix(0, p.deadline.Load())) > time.Second {
		p.deadline.Store(next.UnixNano())
		_ = p.until(next)
	}
}

// bodyDeadline is when the next bytes of a body must be there.
func bodyDeadline(started time.Time, grace time.Duration, received int64) time.Time {
	return started.Add(grace + time.Duration(received)*time.Second/slowBodyRate)
}

func (p *pace) stop() {
	if p.until != nil {
		p.deadline.Store(0)
		_ = p.until(time.Time{})
	}
}

// over says that the time is over. net/http ends the request's context then, as if the client were gone.
func (p *pace) over(now time.Time) bool {
	deadline := p.deadline.Load()
	return deadline != 0 && now.UnixNano() >= deadline
}

// answerBody is an answer's body on its way: how much of it came, and how it ended.
type answerBody struct {
	io.ReadCloser
	bytes int64
	err   error
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	b.err = err
	return n, err
}

// failure is how an answer ended whose header was fine: a body that was not read to its end is one that the client did
// not take.
func (b *answerBody) failure() failure {
	switch {
	case b.ReadCloser == nil || errors.Is(b.err, io.EOF):
		return succeeded
	case b.err == nil:
		return clientGone
	}
	if kind := classify(b.err); kind == clientGone || kind == responseTimeout {
		return kind
	}
	return answerTruncated
}
