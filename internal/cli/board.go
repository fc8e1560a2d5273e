package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// mark says how far a row of a board is.
type mark int

const (
	working mark = iota
	done
	broken
)

// row is one thing that is under way.
type row struct {
	name, text string
	mark       mark
	since      time.Time
	took       time.Duration // of a row that is done or broken
}

// board shows what is under way, one row each. On a terminal it rewrites its rows, with the time they take; elsewhere
// it writes one line per change. Its methods may be called at the same time.
type board struct {
	out   io.Writer
	live  bool
	paint paint

	mu    sync.Mutex
	rows  []row
	drawn int // lines on the terminal that the next drawing replaces
	frame int
	stop  chan struct{}
	ended chan struct{}
}

func (e *env) newBoard() *board {
	b := &board{out: e.err, live: isTerminal(e.err) && os.Getenv("TERM") != "dumb", paint: e.paint(e.err), stop: make(chan struct{}), ended: make(chan struct{})}
	go b.animate()
	return b
}

// redraw is how often a live board moves.
const redraw = 120 * time.Millisecond

func (b *board) animate() {
	defer close(b.ended)
	if !b.live {
		return
	}
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.mu.Lock()
			b.frame++
			b.draw(time.Now())
			b.mu.Unlock()
		}
	}
}

// set changes the row called name, which is new or has another text or mark.
func (b *board) set(name, text string, m mark) {
	text = clean(text)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.find(name, now)
	if r.text == text && r.mark == m {
		return
	}
	r.text, r.mark = text, m
	if m != working {
		r.took = now.Sub(r.since)
	}
	if b.live {
		b.draw(now)
		return
	}
	fmt.Fprintln(b.out, r.line(now, "·", len(name), b.paint))
}

func (b *board) find(name string, now time.Time) *row {
	for i := range b.rows {
		if b.rows[i].name == name {
			return &b.rows[i]
		}
	}
	b.rows = append(b.rows, row{name: name, since: now})
	return &b.rows[len(b.rows)-1]
}

// close draws the rows for the last time and leaves them on the terminal.
func (b *board) close() {
	close(b.stop)
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live {
		b.draw(time.Now())
		b.drawn = 0
	}
}

// up moves the cursor to the first of n lines above it, and clearBelow erases from there on (ECMA-48, CPL and ED).
func up(n int) string {
	if n == 0 {
		return "\r"
	}
	return fmt.Sprintf("\x1b[%dF", n)
}

const clearBelow = "\x1b[J"

func (b *board) draw(now time.Time) {
	width, height := 80, 24
	if f, ok := b.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	lines := screen(b.rows, now, b.frame, width, height-1, b.paint)
	fmt.Fprint(b.out, up(b.drawn), clearBelow, strings.Join(lines, "\n"), "\n")
	b.drawn = len(lines)
}

// screen is what a terminal of this size shows. Where the rows are more than the lines, the first of those that are done
// give way, then the last: a line that has scrolled off cannot be rewritten.
func screen(rows []row, now time.Time, frame, width, height int, p paint) []string {
	name := 0
	for _, r := range rows {
		name = max(name, utf8.RuneCountInString(r.name))
	}
	surplus := 0
	if len(rows) > max(height, 2) {
		surplus = len(rows) - max(height, 2) + 1 // the line that counts them
	}
	hidden := 0
	var lines []string
	for _, r := range rows {
		if r.mark == done && hidden < surplus {
			hidden++
			continue
		}
		lines = append(lines, r.fit(now, string(spinner[frame%len(spinner)]), name, width, p))
	}
	if over := surplus - hidden; over > 0 {
		lines = lines[:len(lines)-over]
	}
	if surplus > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", surplus))
	}
	return lines
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// line is a row as text; moving is the sign of one that is under way.
func (r row) line(now time.Time, moving string, nameWidth int, p paint) string {
	took := r.took
	if r.mark == working {
		took = now.Sub(r.since)
	}
	sign := map[mark]string{working: moving, done: p.green("✓"), broken: p.red("✗")}[r.mark]
	name := r.name + strings.Repeat(" ", max(0, nameWidth-utf8.RuneCountInString(r.name)))
	text := r.text
	if r.mark == broken {
		text = p.red(text)
	}
	return fmt.Sprintf("%s %s  %s %s", sign, p.bold(name), text, p.faint(fmt.Sprintf("(%.1fs)", took.Seconds())))
}

// fit cuts the row's text so that the line does not wrap: a wrapped line takes two and could not be rewritten.
func (r row) fit(now time.Time, moving string, nameWidth, width int, p paint) string {
	if over := visible(r.line(now, moving, nameWidth, p)) - width; over > 0 {
		text := []rune(r.text)
		r.text = string(text[:max(0, len(text)-over-1)]) + "…"
	}
	return r.line(now, moving, nameWidth, p)
}
