package traffic

import (
	"errors"
	"net/http"
	"time"
)

// scheme is that of requests to the backend.
func (b *backend) scheme() string {
	if b.upstream != nil {
		return "https"
	}
	return "http"
}

// setProtocols chooses the protocols for a backend: HTTP/1.1, but HTTP/2 where its Service or kind of route asks for it,
// and where TLS offers it.
func (b *backend) setProtocols(p *http.Protocols) {
	p.SetHTTP1(!b.key.H2C)
	p.SetUnencryptedHTTP2(b.key.H2C && b.upstream == nil)
	p.SetHTTP2(b.upstream != nil)
}

// ready is an endpoint that can take a request now, or nil.
func (b *backend) ready() *endpoint { return b.choose(b.set.Load(), nil) }

// isRefusal says that a request was never sent: there was no endpoint for it, or it may not wait for one.
func isRefusal(err error) bool {
	return errors.Is(err, errNoEndpoint) || errors.Is(err, errHoldFull) || errors.Is(err, errOverloaded)
}

// mayRepeat says whether the backend is well enough for a request to be sent again.
func (x *exchange) mayRepeat() bool { return x.backend.mayRetry(time.Now()) }
