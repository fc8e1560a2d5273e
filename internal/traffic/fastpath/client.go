package fastpath

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

type clientState int

const (
	waiting    clientState = iota // for a head
	exchanging                    // a request is on its way
	flushing                      // the answer is here, but not all of it sent
	lingering                     // all is sent; what still comes is thrown away, so that the answer is not
	gone
)

// client is a connection from outside.
type client struct {
	loop  *loop
	fd    int32
	state clientState
	peer  string
	timer timer
	// waitsSince is when the last answer was through, or the connection came.
	waitsSince time.Time

	// ready says that the kernel may hold bytes, or the end, that were not read.
	ready, hup bool
	// closing says that no request follows the one that is on its way.
	closing bool
	queued  bool // in loop.again

	raw    []byte // the head being read, or the request on its way: its head, and what came of the body with it
	next   []byte // what came behind it
	reads  int    // of this head
	unsent []byte // what the client has not taken yet
	// stalled is since when it has taken nothing of that.
	stalled time.Time

	x        Exchange
	upstream *upstream
	method   exchangeMethod
	bodyLeft int64 // of the request's body, not read yet
	drained  int   // bytes thrown away while lingering
	// whole says that raw is all that was read of the request, so that it can be sent again.
	whole    bool
	answered bool // the head of the answer is on its way to the client
	head     int  // of the request, in bytes
	length   int64
	sent     int64 // bytes of the answer's body
	attempt  time.Time
}

// exchangeMethod is what has to be known of the method once the head is gone.
type exchangeMethod struct{ head, idempotent bool }

const (
	lingerTimeout = 500 * time.Millisecond
	lingerBytes   = 256 << 10
	// maxReads is how many pieces a head may come in; the reference path waits for those that take more.
	maxReads = 8
)

// serve takes a connection in.
func (l *loop) serve(a accepted) {
	c := &client{loop: l, fd: int32(a.fd), peer: a.peer}
	c.timer.fire = c
	if err := l.watch(a.fd, c); err != nil || l.draining {
		l.forget(c.fd)
		_ = unix.Close(a.fd)
		return
	}
	c.waitsSince = l.now
	l.clients[c] = struct{}{}
	l.server.load[l.id].Add(1)
	if a.returned {
		c.await(a.data)
		return
	}
	l.timers.arm(&c.timer, l.now.Add(HeadTimeout))
}

// resting says that the connection has no request, nor a part of one.
func (c *client) resting() bool { return c.state == waiting && len(c.raw) == 0 }

func (c *client) event(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.hup = true
	}
	if events&unix.EPOLLOUT != 0 && len(c.unsent) > 0 {
		c.flush()
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.ready = true
		c.readable()
	}
}

func (c *client) resume() {
	c.queued = false
	c.readable()
	if u := c.upstream; u != nil && u.ready {
		u.relay()
	}
}

// later gives the others a turn.
func (c *client) later() {
	if !c.queued {
		c.queued = true
		c.loop.again = append(c.loop.again, c)
	}
}

func (c *client) readable() {
	switch {
	case c.state == waiting:
		c.readHead()
	case c.state == lingering:
		c.drain()
	case c.state == exchanging && c.bodyLeft > 0:
		c.readBody()
	}
	if c.state == exchanging && c.hup && c.bodyLeft == 0 && len(c.next) == 0 && atEnd(c.fd) {
		c.fail(ClientGone, nil)
	}
}

// receive reads into b, and notes whether more may be there.
func (c *client) receive(b []byte) (int, bool) {
	n, err := receive(c.fd, b)
	switch {
	case err == unix.EAGAIN:
		c.ready = false
		return 0, true
	case err != 0 || n == 0:
		return 0, false
	}
	c.ready = n == len(b) || c.hup
	return n, true
}

func (c *client) readHead() {
	l := c.loop
	for c.state == waiting && c.ready {
		n := copy(l.in, c.raw)
		m, ok := c.receive(l.in[n:])
		if !ok {
			c.close()
			return
		}
		if m > 0 {
			c.take(l.in[:n+m])
		}
	}
}

// take goes on with the bytes of a head, which are in the loop's buffer.
func (c *client) take(data []byte) {
	l := c.loop
	switch l.req.parse(data) {
	case incomplete:
		c.keep(data)
	case refused:
		c.handOver(data)
	case complete:
		c.begin(data)
	}
}

// keep waits for the rest of a head.
func (c *client) keep(data []byte) {
	if c.reads++; c.reads > maxReads {
		c.handOver(data)
		return
	}
	if len(c.raw) == 0 {
		c.loop.timers.arm(&c.timer, c.loop.now.Add(HeadTimeout))
		c.raw = c.loop.buffer()
	}
	c.raw = append(c.raw[:0], data...)
}

// begin starts the exchange for the request that was just read.
func (c *client) begin(data []byte) {
	l, r := c.loop, &c.loop.req
	c.x = Exchange{Started: l.now}
	switch l.server.router.Route(r, &c.x) {
	case HandOver:
		c.handOver(data)
		return
	case Lend:
		c.lend(data, r.head, r.length)
		return
	}
	body := int(min(int64(len(data)-r.head), r.length))
	used := r.head + body
	if c.raw == nil {
		c.raw = l.buffer()
	}
	c.raw = append(c.raw[:0], data[:used]...)
	if used < len(data) {
		c.next = bytes.Clone(data[used:])
	}
	c.state, c.reads, c.bodyLeft, c.whole, c.answered = exchanging, 0, r.length-int64(body), true, false
	c.head, c.length, c.sent = r.head, r.length, 0
	c.closing = r.close
	c.method = exchangeMethod{head: string(r.Method) == "HEAD", idempotent: idempotent(r.Method)}
	c.try()
}

// try sends the request, whose head the loop's parser holds, to its upstream.
func (c *client) try() {
	l := c.loop
	c.attempt = l.now
	c.armExchange()
	u := l.idle(c.x.Upstream)
	if u == nil {
		var err error
		if u, err = l.dial(c.x.Upstream); err != nil {
			c.notConnected(err)
			return
		}
	}
	c.upstream, u.client = u, c
	if u.phase != connecting {
		u.sendRequest()
	}
}

// readBody brings the request's body to the upstream as fast as that takes it.
func (c *client) readBody() {
	l := c.loop
	for range roundsPerTurn {
		u := c.upstream
		if c.state != exchanging || c.bodyLeft == 0 || !c.ready || u == nil || u.phase == connecting || len(u.unsent) > 0 {
			return
		}
		b := l.in[:min(int64(len(l.in)), c.bodyLeft)]
		n, ok := c.receive(b)
		if !ok {
			c.fail(ClientGone, nil)
			return
		}
		c.whole = c.whole && n == 0
		c.bodyLeft -= int64(n)
		u.write(b[:n])
	}
	c.later()
}

// write sends to the client; what it does not take now is kept.
func (c *client) write(b []byte) {
	if len(c.unsent) == 0 {
		n, err := send(c.fd, b)
		if err != 0 && err != unix.EAGAIN {
			c.lost()
			return
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return
	}
	if len(c.unsent) == 0 {
		c.stalled = c.loop.now
	}
	c.unsent = append(c.unsent, b...)
	c.armExchange()
}

// flush sends what was kept, and lets the exchange go on once nothing is.
func (c *client) flush() {
	n, err := send(c.fd, c.unsent)
	if err != 0 && err != unix.EAGAIN {
		c.lost()
		return
	}
	if n > 0 {
		c.stalled = c.loop.now
	}
	c.unsent = c.unsent[:copy(c.unsent, c.unsent[n:])]
	if len(c.unsent) > 0 {
		return
	}
	c.unsent = nil
	c.armExchange()
	switch {
	case c.state == flushing:
		c.endAnswer()
	case c.upstream != nil && c.upstream.ready:
		c.upstream.relay()
	}
}

// lost ends a client that no longer takes bytes.
func (c *client) lost() {
	if c.state == exchanging {
		if !c.answered {
			_, _ = c.loop.server.router.Explain(&c.x, ClientGone, nil)
		}
		c.finish(Outcome{Reason: ClientGone})
	}
	c.close()
}

// finish parts with the upstream and tells how the exchange ended.
func (c *client) finish(o Outcome) {
	if u := c.upstream; u != nil {
		u.abandon()
	}
	c.state = flushing
	o.In, o.Out, o.Now = c.length-c.bodyLeft, c.sent, c.loop.now
	c.loop.server.router.Done(&c.x, o)
	c.x = Exchange{}
}

// fail answers a request that no backend answered. If the answer had begun, its end is missing, and closing the
// connection is the only way to say so.
func (c *client) fail(reason Reason, err error) {
	if c.answered {
		c.finish(Outcome{Reason: reason, Err: err})
		c.abort()
		return
	}
	code, text := c.loop.server.router.Explain(&c.x, reason, err)
	c.closing = c.closing || c.bodyLeft > 0 || reason == ClientGone
	out := fmt.Appendf(c.loop.out[:0], "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n%sContent-Length: %d\r\n",
		code, cmp.Or(http.StatusText(code), "status code "+strconv.Itoa(code)), c.loop.date, len(text)+1)
	if c.closing {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, '\r', '\n')
	if !c.method.head {
		out = append(append(out, text...), '\n')
	}
	c.finish(Outcome{Reason: reason, Err: err})
	c.write(out)
	if c.state == flushing && len(c.unsent) == 0 {
		c.endAnswer()
	}
}

// notConnected gives a request that no backend can have seen to the reference path, which tries others.
func (c *client) notConnected(err error) {
	c.loop.server.router.Dialled(&c.x, c.loop.now.Sub(c.attempt), err)
	c.repeat(err)
}

// repeat lends a request, from its first byte, to the reference path.
func (c *client) repeat(err error) {
	if c.loop.draining {
		c.fail(BackendFailed, err)
		return
	}
	c.finish(Outcome{Reason: BackendFailed, Err: err, Lent: true})
	c.lend(append(bytes.Clone(c.raw), c.next...), c.head, c.length)
}

// endAnswer goes on after the last byte of an answer was sent.
func (c *client) endAnswer() {
	if c.closing || c.loop.draining {
		c.shut()
		return
	}
	c.loop.giveBack(c.raw)
	next := c.next
	c.raw, c.next = nil, nil
	c.await(next)
}

// await waits for the next head, of which some bytes may be here already.
func (c *client) await(data []byte) {
	l := c.loop
	c.state = waiting
	c.waitsSince = l.now
	l.timers.arm(&c.timer, l.now.Add(ClientIdle))
	if len(data) > 0 {
		c.take(l.in[:copy(l.in, data)])
	}
	if c.state == waiting && c.ready {
		c.later()
	}
}

// shut closes after an answer. While bytes are still on their way here, a close at once would let the kernel throw the
// answer away with them.
func (c *client) shut() {
	if c.bodyLeft == 0 && len(c.next) == 0 && !c.ready {
		c.close()
		return
	}
	_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	c.state = lingering
	c.loop.timers.arm(&c.timer, c.loop.now.Add(lingerTimeout))
	c.later()
}

func (c *client) drain() {
	for c.state == lingering && c.ready {
		n, ok := c.receive(c.loop.in)
		c.drained += n
		if !ok || c.drained > lingerBytes {
			c.close()
		}
	}
}

// abort closes with a reset, so that a client cannot take what it has for all.
func (c *client) abort() {
	if c.state == gone {
		return
	}
	if c.state == exchanging {
		c.finish(Outcome{Reason: ClientGone})
	}
	_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	c.close()
}

// leave takes the connection out of the loop without closing it.
func (c *client) leave() {
	l := c.loop
	c.state = gone
	l.timers.remove(&c.timer)
	l.forget(c.fd)
	delete(l.clients, c)
	l.server.load[l.id].Add(-1)
	l.giveBack(c.raw)
	c.raw, c.next, c.unsent = nil, nil, nil
}

func (c *client) close() {
	if c.state == gone {
		return
	}
	c.leave()
	_ = unix.Close(int(c.fd))
}
