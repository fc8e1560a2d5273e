package traffic

import (
	"errors"
	"io"
	"sync/atomic"
)

// errBodyTooSlow ends a request whose body comes slower than the limits allow.
var errBodyTooSlow = errors.New("the request's body came too slowly")

// body is a request's body on its way. It remembers whether it was read, and is not closed by a failed attempt: the
// proxy closes the one below.
type body struct {
	io.ReadCloser
	read  atomic.Bool
	bytes atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	b.read.Store(true)
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}

func (b *body) Close() error { return nil }

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
	case b.ReadCloser == nil || b.err == io.EOF:
		return succeeded
	case b.err == nil:
		return clientGone
	}
	if kind := classify(b.err); kind == clientGone || kind == responseTimeout {
		return kind
	}
	return answerTruncated
}
