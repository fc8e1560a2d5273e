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
	tick     *time.Ticker
	stop     chan struct{}
	stopped  chan struct{}

	mu    sync.Mutex
	line  string // what the last line says; empty for none
	since time.Time
	timed bool // whether the line shows how long it has stood
}

// clearLine moves to the start of the line and erases it (ECMA-48, CR and EL).
const clearLine = "\r\x1b[K"

// NewProgress reports to out. Close ends it.
func NewProgress(out io.Writer, terminal bool) *Progress {
	p := &Progress{out: out, terminal: terminal, tick: time.NewTicker(time.Second), stop: make(chan struct{}), stopped: make(chan struct{})}
	go p.animate()
	return p
}

// animate redraws the line each second while it counts.
func (p *Progress) animate() {
	defer close(p.stopped)
	for {
		select {
		case <-p.stop:
			return
		case <-p.tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *Progress) draw() {
	if !p.terminal || p.line == "" {
		return
	}
	if p.timed {
		fmt.Fprintf(p.out, "%s  %s (%s)", clearLine, p.line, time.Since(p.since).Round(time.Second))
	} else {
		fmt.Fprintf(p.out, "%s  %s", clearLine, p.line)
	}
}

// Waiting says what is being waited for now.
func (p *Progress) Waiting(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if line := "waiting for " + what; p.line != line {
		p.line, p.since, p.timed = line, time.Now(), true
		p.draw()
	}
}

// Status replaces the last line by one that stands still, and costs nothing while it does.
func (p *Progress) Status(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.timed = s, false
	p.tick.Stop()
	p.draw()
}

// Done says that a stage is over and how long it took.
func (p *Progress) Done(stage string, took time.Duration) {
	p.Line(fmt.Sprintf("  %-28s %6.1fs", stage, took.Seconds()))
}

// Line prints a line that stays, above the last one.
func (p *Progress) Line(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.out, s)
	p.draw()
}

// Close erases the last line and ends the progress.
func (p *Progress) Close() {
	close(p.stop)
	<-p.stopped
	p.tick.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.line = ""
}

func (p *Progress) erase() {
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
}
