package platform

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Progress is a Reporter for people. On a terminal the last line says what is being waited for and for how long;
// elsewhere each finished stage is one line.
type Progress struct {
	out      io.Writer
	terminal bool
	columns  func() int
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
func NewProgress(out io.Writer) *Progress {
	p := &Progress{out: out, tick: time.NewTicker(time.Second), stop: make(chan struct{}), stopped: make(chan struct{})}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		p.columns = func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		}
	}
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
	line := "  " + p.line
	if p.timed {
		line += fmt.Sprintf(" (%s)", time.Since(p.since).Round(time.Second))
	}
	fmt.Fprint(p.out, clearLine, fit(line, p.columns()))
}

// fit cuts a line to the columns of the terminal: one that wraps could not be erased.
func fit(line string, columns int) string {
	runes := []rune(line)
	if len(runes) < columns {
		return line
	}
	return string(runes[:max(columns-2, 0)]) + "…"
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
