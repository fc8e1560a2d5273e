package traffic

import "errors"

// What a program needs that runs the gateway alone: whether it can take requests, how to let go of its clients before
// it stops, and who of several gateways writes statuses.

// Ready says whether requests can be answered: the first table is there, the ports of its listeners are served, and the
// gateway does not drain. A port that could not be opened does not count while another is: one bad listener must not take
// the others out of service. The error is why not.
func (g *Gateway) Ready() error {
	select {
	case <-g.installed:
	default:
		return errors.New("the routes are not read yet")
	}
	if g.draining.Load() {
		return errors.New("draining")
	}
	return g.sockets.ready()
}

// Drain makes clients go elsewhere: every answer is the last of its connection from now on (RFC 9112 section 9.6, and
// GOAWAY in HTTP/2). Requests are answered as before.
func (g *Gateway) Drain() { g.draining.Store(true) }

// WriteStatuses says whether this gateway writes the statuses of objects; see Deps.Passive. When it begins, it writes
// all that differ.
func (g *Gateway) WriteStatuses(on bool) { g.statuses.activate(on) }

// activate starts or stops the writing of statuses.
func (p *pending) activate(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passive == !on {
		return
	}
	p.passive = !on
	if on && p.queue != nil {
		p.enqueueAll()
	}
}
