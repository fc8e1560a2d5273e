package process

import (
	"fmt"
	"os"
	"sync"
)

// stdio is both ends of a process's standard streams. With a terminal, and for streams nobody wants, the far end is
// /dev/null.
type stdio struct {
	far                   [3]*os.File
	stdin, stdout, stderr *os.File
}

func openStdio(stdin, terminal bool) (*stdio, error) {
	s := &stdio{}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s.far = [3]*os.File{null, null, null}
	if terminal {
		return s, nil
	}
	if stdin {
		if s.far[0], s.stdin, err = os.Pipe(); err != nil {
			return nil, s.abandon(err)
		}
	}
	if s.stdout, s.far[1], err = os.Pipe(); err != nil {
		return nil, s.abandon(err)
	}
	if s.stderr, s.far[2], err = os.Pipe(); err != nil {
		return nil, s.abandon(err)
	}
	if s.far[0] != null {
		err = null.Close()
	}
	return s, err
}

func (s *stdio) abandon(err error) error {
	s.closeFar()
	s.closeNear()
	return err
}

// closeFar is for after the process has started, or not.
func (s *stdio) closeFar() {
	for i, f := range s.far {
		if i == 0 || f != s.far[0] {
			_ = closeAll(f)
		}
	}
}

func (s *stdio) closeNear() { _ = closeAll(s.stdin, s.stdout, s.stderr) }

// use makes a terminal the process's streams.
func (s *stdio) use(terminal *os.File) {
	if terminal != nil {
		s.stdin, s.stdout = terminal, terminal
	}
}

// copy moves a container's output to its log; the returned channel is closed after the last byte.
func (c *container) copy(o *stdio) <-chan struct{} {
	var wg sync.WaitGroup
	start := func(f *os.File, stream string) {
		if f == nil {
			return
		}
		wg.Go(func() {
			copyOutput(terminalReader{f}, stream, c.log, &c.attached)
		})
	}
	start(o.stdout, "stdout")
	start(o.stderr, "stderr")
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

// fanout hands a container's output to the clients attached to it.
type fanout struct {
	mu      sync.Mutex
	clients map[*client]struct{}
	closed  bool
}

// client is one attached client. It has room for a while; one that does not keep up is cut off, so that it cannot
// hold up the program.
type client struct {
	chunks chan chunk
	slow   bool
}

type chunk struct {
	stream string
	data   []byte
}

const clientRoom = 256

var errSlow = fmt.Errorf("the client did not read fast enough: more than %d pieces of output were waiting", clientRoom)

// join returns a client whose channel is closed when the output ends.
func (f *fanout) join() *client {
	c := &client{chunks: make(chan chunk, clientRoom)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(c.chunks)
		return c
	}
	if f.clients == nil {
		f.clients = map[*client]struct{}{}
	}
	f.clients[c] = struct{}{}
	return c
}

func (f *fanout) leave(c *client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.clients[c]; ok {
		delete(f.clients, c)
		close(c.chunks)
	}
}

func (f *fanout) send(stream string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		select {
		case c.chunks <- chunk{stream, append([]byte(nil), data...)}:
		default:
			c.slow = true
			delete(f.clients, c)
			close(c.chunks)
		}
	}
}

func (f *fanout) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.clients {
		delete(f.clients, c)
		close(c.chunks)
	}
}
