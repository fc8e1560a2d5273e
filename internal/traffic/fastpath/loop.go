package fastpath

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readSize = 64 << 10
	// roundsPerTurn bounds what one connection moves before the others have their turn.
	roundsPerTurn = 16
	acceptsAtOnce = 16
	acceptPause   = 50 * time.Millisecond
)

// watched is a connection of either side.
type watched interface {
	// event takes what epoll reports.
	event(events uint32)
	// resume goes on after others had their turn.
	resume()
}

// slot is what a file descriptor stands for. The generation tells a late event of a closed connection from one of the
// connection that got its number.
type slot struct {
	of         watched
	generation int32
}

// loop serves its connections from one goroutine. Only inbox is touched by others.
type loop struct {
	server *Server
	id     int

	epoll, waker, listener int
	accepting              bool
	pause                  timer // until accepting goes on

	slots  []slot
	timers timers
	again  []watched // have more to do

	now     time.Time
	date    []byte // the Date field of this second
	dateFor int64

	in, out []byte
	req     Request
	res     response
	buffers [][]byte

	clients map[*client]struct{}
	pools   map[*Upstream]*pool

	inbox struct {
		sync.Mutex
		accepted []accepted
		retired  []*Upstream
		drain    bool
		abort    bool
	}
	draining bool
}

// accepted is a connection that comes in here: new, from another loop, or back from the reference path.
type accepted struct {
	fd   int
	peer string
	data []byte // read of it already
	// returned says that the reference path had it.
	returned bool
}

func newLoop(s *Server, id, listener int) (*loop, error) {
	l := &loop{
		server: s, id: id, listener: listener,
		in: make([]byte, readSize), out: make([]byte, 0, 2*readSize),
		clients: map[*client]struct{}{}, pools: map[*Upstream]*pool{},
	}
	l.pause.fire = acceptAgain{l}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.waker, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(l.epoll)
		return nil, err
	}
	if err = l.control(unix.EPOLL_CTL_ADD, l.waker, unix.EPOLLIN, 0); err == nil {
		err = l.accept(true)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) close() {
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.waker)
}

func (l *loop) control(op, fd int, events uint32, generation int32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: generation})
}

// accept starts or stops taking connections in.
func (l *loop) accept(on bool) error {
	if on == l.accepting {
		return nil
	}
	l.accepting = on
	if on {
		return l.control(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, 0)
	}
	return l.control(unix.EPOLL_CTL_DEL, l.listener, 0, 0)
}

// watch reports the events of a connection to it from now on.
func (l *loop) watch(fd int, w watched) error {
	for fd >= len(l.slots) {
		l.slots = append(l.slots, make([]slot, max(64, fd+1-len(l.slots)))...)
	}
	s := &l.slots[fd]
	s.of = w
	return l.control(unix.EPOLL_CTL_ADD, fd, everything, s.generation)
}

// forget ends the events of a connection, which may then be closed.
func (l *loop) forget(fd int32) {
	s := &l.slots[fd]
	s.of = nil
	s.generation++
}

// run serves until the server is shut down and the last request has ended.
func (l *loop) run() {
	defer l.close()
	events := make([]unix.EpollEvent, 256)
	for {
		l.tick()
		wait := l.timers.run(l.now)
		if len(l.again) > 0 {
			wait = 0
		}
		if l.draining && len(l.clients) == 0 {
			l.closePools()
			return
		}
		n := waitEvents(l.epoll, events, wait)
		l.tick()
		for i := range events[:n] {
			l.dispatch(&events[i])
		}
		l.resumeAll()
	}
}

func (l *loop) tick() {
	l.now = time.Now()
	if s := l.now.Unix(); s != l.dateFor {
		l.dateFor = s
		l.date = append(l.date[:0], "Date: "...)
		l.date = l.now.UTC().AppendFormat(l.date, http.TimeFormat)
		l.date = append(l.date, '\r', '\n')
	}
}

func (l *loop) dispatch(e *unix.EpollEvent) {
	switch int(e.Fd) {
	case l.waker:
		l.readInbox()
	case l.listener:
		l.acceptSome()
	default:
		if s := &l.slots[e.Fd]; s.of != nil && s.generation == e.Pad {
			s.of.event(e.Events)
		}
	}
}

// resumeAll gives those their next turn that had more to do than one turn allows.
func (l *loop) resumeAll() {
	waiting := l.again
	l.again = nil
	for _, w := range waiting {
		w.resume()
	}
}

func (l *loop) acceptSome() {
	for range acceptsAtOnce {
		fd, from, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			if !l.admit() {
				_ = unix.Close(fd)
				continue
			}
			l.take(accepted{fd: fd, peer: peerName(from)})
		case unix.EAGAIN, unix.EINVAL: // the latter once the socket is shut
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// The kernel would report the same connection again at once.
			_ = l.accept(false)
			l.timers.arm(&l.pause, l.now.Add(acceptPause))
			return
		}
	}
}

type acceptAgain struct{ loop *loop }

func (a acceptAgain) expire() {
	if !a.loop.draining {
		_ = a.loop.accept(true)
	}
}

// take serves a connection here, or gives it to a loop that has clearly fewer.
func (l *loop) take(a accepted) {
	mine := l.server.load[l.id].Load()
	for i, other := range l.server.loops {
		if other != l && l.server.load[i].Load()+8 < mine && other.give(a) {
			return
		}
	}
	l.serve(a)
}

// give passes a connection to this loop from elsewhere; false when the loop takes no more.
func (l *loop) give(a accepted) bool {
	l.inbox.Lock()
	defer l.inbox.Unlock()
	if l.inbox.drain {
		return false
	}
	l.server.load[l.id].Add(1)
	l.inbox.accepted = append(l.inbox.accepted, a)
	l.wake()
	return true
}

func (l *loop) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.waker, one[:])
}

func (l *loop) readInbox() {
	var count [8]byte
	_, _ = unix.Read(l.waker, count[:])
	l.inbox.Lock()
	taken, retired := l.inbox.accepted, l.inbox.retired
	drain, abort := l.inbox.drain, l.inbox.abort
	l.inbox.accepted, l.inbox.retired = nil, nil
	l.inbox.Unlock()
	for _, a := range taken {
		l.server.load[l.id].Add(-1)
		l.serve(a)
	}
	for _, u := range retired {
		l.closePool(u)
	}
	if drain && !l.draining {
		l.startDraining()
	}
	if abort {
		for c := range l.clients {
			c.abort()
		}
	}
}

// startDraining lets the requests in flight finish and all else go.
func (l *loop) startDraining() {
	l.draining = true
	_ = l.accept(false)
	for c := range l.clients {
		if c.resting() {
			c.close()
		}
	}
}

// buffer lends a small buffer for a request.
func (l *loop) buffer() []byte {
	if n := len(l.buffers); n > 0 {
		b := l.buffers[n-1]
		l.buffers = l.buffers[:n-1]
		return b[:0]
	}
	return make([]byte, 0, smallBuffer)
}

const (
	smallBuffer = 4 << 10
	keptBuffers = 256
)

func (l *loop) giveBack(b []byte) {
	if cap(b) == smallBuffer && len(l.buffers) < keptBuffers {
		l.buffers = append(l.buffers, b)
	}
}
