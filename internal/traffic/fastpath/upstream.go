package fastpath

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Upstream is an address that takes requests.
type Upstream struct {
	address netip.AddrPort

	mu    sync.Mutex
	loops map[*loop]bool // hold connections
}

// NewUpstream makes an upstream of an "ip:port".
func NewUpstream(address string) (*Upstream, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q of an upstream: %w", address, err)
	}
	return &Upstream{address: a, loops: map[*loop]bool{}}, nil
}

// CloseIdle closes the connections that serve no request.
func (u *Upstream) CloseIdle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for l := range u.loops {
		l.inbox.Lock()
		l.inbox.retired = append(l.inbox.retired, u)
		l.inbox.Unlock()
		l.wake()
	}
}

func (u *Upstream) heldBy(l *loop, holds bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if holds {
		u.loops[l] = true
	} else {
		delete(u.loops, l)
	}
}

// pool is the connections of one loop to one upstream.
type pool struct {
	of   *Upstream
	idle []*upstream
	open int
}

type phase int

const (
	connecting phase = iota
	resting          // serves no request
	expecting        // the head of an answer
	answering        // its body is on the way
	ended
)

// upstream is a connection to a backend.
type upstream struct {
	loop  *loop
	pool  *pool
	fd    int32
	phase phase
	timer timer

	ready, hup bool
	queued     bool // in loop.again

	client  *client
	partial []byte // a head that is not complete
	unsent  []byte // what the backend has not taken yet
	refused error  // why it takes no more
	interim int

	body     bodyKind
	left     int64
	chunks   chunkReader
	reusable bool
}

const maxInterim = 8

// idle takes the connection that was used last, if there is one.
func (l *loop) idle(to *Upstream) *upstream {
	p := l.pools[to]
	if p == nil || len(p.idle) == 0 {
		return nil
	}
	n := len(p.idle) - 1
	u := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	l.timers.arm(&u.timer, time.Time{})
	return u
}

func (l *loop) dial(to *Upstream) (*upstream, error) {
	fd, done, err := connect(socketAddress(to.address))
	if err != nil {
		return nil, to.dialError(err)
	}
	p := l.pools[to]
	if p == nil {
		p = &pool{of: to}
		l.pools[to] = p
		to.heldBy(l, true)
	}
	u := &upstream{loop: l, pool: p, fd: int32(fd)}
	u.timer.fire = u
	p.open++
	if err := l.watch(fd, u); err != nil {
		u.close()
		return nil, to.dialError(err)
	}
	if done {
		u.phase = resting
		return u, nil
	}
	l.timers.arm(&u.timer, l.now.Add(DialTimeout))
	return u, nil
}

func (u *Upstream) dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(u.address), Err: os.NewSyscallError("connect", err)}
}

func (u *upstream) event(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		u.hup = true
	}
	if u.phase == connecting {
		u.connected()
		return
	}
	if events&unix.EPOLLOUT != 0 && len(u.unsent) > 0 {
		u.flush()
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 && u.phase != ended {
		u.ready = true
		u.relay()
	}
}

func (u *upstream) resume() {
	u.queued = false
	u.relay()
}

// connected sends the request for which the connection was opened.
func (u *upstream) connected() {
	l, c := u.loop, u.client
	if err := connected(u.fd); err != nil {
		err = u.pool.of.dialError(err)
		u.abandon()
		c.notConnected(err)
		return
	}
	l.timers.arm(&u.timer, time.Time{})
	l.server.router.Dialled(&c.x, l.now.Sub(c.attempt), nil)
	u.phase = resting
	if l.req.parse(c.raw) != complete {
		panic("fastpath: a request that was complete no longer is")
	}
	u.sendRequest()
}

// sendRequest sends the request that the loop's parser holds.
func (u *upstream) sendRequest() {
	l, c := u.loop, u.client
	u.phase, u.interim = expecting, 0
	out := appendRequest(l.out[:0], &l.req, &c.x, c.peer)
	u.write(append(out, c.raw[l.req.head:]...))
	if u.client == c && c.bodyLeft > 0 && c.ready {
		c.readBody()
	}
}

func (u *upstream) write(b []byte) {
	if len(u.unsent) == 0 {
		n, err := send(u.fd, b)
		if err != 0 && err != unix.EAGAIN {
			u.broken(err)
			return
		}
		b = b[n:]
	}
	if len(b) > 0 {
		u.unsent = append(u.unsent, b...)
	}
}

func (u *upstream) flush() {
	n, err := send(u.fd, u.unsent)
	if err != 0 && err != unix.EAGAIN {
		u.broken(err)
		return
	}
	u.unsent = u.unsent[:copy(u.unsent, u.unsent[n:])]
	if len(u.unsent) > 0 {
		return
	}
	u.unsent = nil
	if c := u.client; c != nil && c.bodyLeft > 0 {
		c.readBody()
	}
}

// broken notes that the backend takes no more. It may have answered before, as one does that does not want the body.
func (u *upstream) broken(err error) {
	u.unsent, u.refused = nil, err
	u.ready, u.hup = true, true
	if !u.queued {
		u.later()
	}
}

func (u *upstream) later() {
	if !u.queued {
		u.queued = true
		u.loop.again = append(u.loop.again, u)
	}
}

// release puts the connection back, or closes it, once the answer is through.
func (u *upstream) release() {
	l, c := u.loop, u.client
	u.client, c.upstream = nil, nil
	keep := u.reusable && c.bodyLeft == 0 && len(u.unsent) == 0 && u.refused == nil && !u.hup && !l.draining && len(u.pool.idle) < MaxIdle
	if !keep {
		u.close()
		return
	}
	u.phase = resting
	u.pool.idle = append(u.pool.idle, u)
	l.timers.arm(&u.timer, l.now.Add(UpstreamIdle))
}

// abandon closes a connection in the middle of an exchange.
func (u *upstream) abandon() {
	if c := u.client; c != nil {
		u.client, c.upstream = nil, nil
	}
	u.close()
}

// expire implements expirer.
func (u *upstream) expire() {
	c := u.client
	u.abandon()
	if c != nil {
		c.notConnected(u.pool.of.dialError(os.ErrDeadlineExceeded))
	}
}

func (u *upstream) close() {
	if u.phase == ended {
		return
	}
	l, p := u.loop, u.pool
	if i := slices.Index(p.idle, u); u.phase == resting && i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	u.phase, u.partial, u.unsent = ended, nil, nil
	l.timers.remove(&u.timer)
	l.forget(u.fd)
	_ = unix.Close(int(u.fd))
	if p.open--; p.open == 0 {
		delete(l.pools, p.of)
		p.of.heldBy(l, false)
	}
}

// closePool closes the connections to an upstream that serve no request.
func (l *loop) closePool(of *Upstream) {
	if p := l.pools[of]; p != nil {
		for len(p.idle) > 0 {
			p.idle[len(p.idle)-1].close()
		}
	}
}

func (l *loop) closePools() {
	for of := range l.pools {
		l.closePool(of)
	}
}
