package platform

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress is a Reporter for people. On a terminal the last line says what is being waited for and for how long;
// elsewhere each finished stage is one line.
type Progress struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	what    string
	since   time.Time
	running bool
	stop    chan struct{}
	stopped chan struct{}
}

// clearLine moves to the start of the line and erases it (ECMA-48, CR and EL).
const clearLine = "\r\x1b[K"

// NewProgress reports to out.
func NewProgress(out io.Writer, terminal bool) *Progress {
	p := &Progress{out: out, terminal: terminal, stop: make(chan struct{}), stopped: make(chan struct{})}
	go p.animate()
	return p
}

// animate redraws the status line twice a second while there is something to wait for.
func (p *Progress) animate() {
	defer close(p.stopped)
	if !p.terminal {
		return
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *Progress) draw() {
	if p.terminal && p.running {
		fmt.Fprintf(p.out, "%s  waiting for %s (%s)", clearLine, p.what, time.Since(p.since).Round(time.Second))
	}
}

// Waiting says what is being waited for now.
func (p *Progress) Waiting(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.what != what {
		p.what, p.since, p.running = what, time.Now(), true
	}
	p.draw()
}

// Done says that a stage is over and how long it took.
func (p *Progress) Done(stage string, took time.Duration) {
	p.Line(fmt.Sprintf("  %-28s %6.1fs", stage, took.Seconds()))
}

// Line prints a line that stays, above the status line.
func (p *Progress) Line(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
	fmt.Fprintln(p.out, s)
	p.draw()
}

// Close ends the status line.
func (p *Progress) Close() {
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
}
