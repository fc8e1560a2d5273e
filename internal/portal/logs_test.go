package portal

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestParseLine(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"plain", "2026-03-01T12:00:00.123456789Z hello\n", "hello"},
		{"other zone", "2026-03-01T14:00:00.123456789+02:00 hello", "hello"},
		{"empty line", "2026-03-01T12:00:00.123456789Z \n", ""},
		{"colours", "2026-03-01T12:00:00.123456789Z \x1b[1;31mred\x1b[0m text\r\n", "red text"},
		{"bell, tab", "2026-03-01T12:00:00.123456789Z a\x07b\tc", "ab\tc"},
		{"cut-off sequence", "2026-03-01T12:00:00.123456789Z a\x1b[3", "a"},
		{"not UTF-8", "2026-03-01T12:00:00.123456789Z a\xffb", "a\uFFFDb"},
		{"markup stays text", "2026-03-01T12:00:00.123456789Z <b>&amp;", "<b>&amp;"},
	} {
		line, ok := parseLine(c.raw)
		if !ok || line.Text != c.want || !line.Time.Equal(noon.Add(123456789)) {
			t.Errorf("%s: %+v, %v", c.name, line, ok)
		}
	}
	for _, raw := range []string{"", "hello", "2026-03-01 hello"} {
		if line, ok := parseLine(raw); ok {
			t.Errorf("%q was read as %+v", raw, line)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("2026-03-01T12:00:00.123456789Z \x1b[31mred\x1b[0m")
	f.Add("2026-03-01T12:00:00Z \xff\x1b")
	f.Fuzz(func(t *testing.T, raw string) {
		line, ok := parseLine(raw)
		if !ok {
			return
		}
		if !utf8.ValidString(line.Text) || strings.ContainsAny(line.Text, "\x00\x1b\r\x7f") || len(line.Text) > 3*len(raw) {
			t.Errorf("%q became %q", raw, line.Text)
		}
	})
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	in := bufio.NewReaderSize(strings.NewReader("short\n"+long+"\nlast"), maxLine)
	var sizes []int
	for {
		line, err := readLine(in)
		sizes = append(sizes, len(line))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{6, maxLine, 4}; len(sizes) != 3 || sizes[0] != want[0] || sizes[1] != want[1] || sizes[2] != want[2] {
		t.Errorf("lines of %v bytes, want %v", sizes, want)
	}
}

func TestGatherGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := make(chan logLine, 2*mostLines)
		for range mostLines + 5 {
			lines <- logLine{}
		}
		if got := len(gatherGroup(logLine{}, lines)); got != mostLines {
			t.Errorf("%d lines at once, want %d", got, mostLines)
		}
		started := time.Now()
		if got := len(gatherGroup(logLine{}, lines)); got != 7 || time.Since(started) != gatherLines {
			t.Errorf("%d lines after %v", got, time.Since(started))
		}
		close(lines)
		started = time.Now()
		if got := len(gatherGroup(logLine{}, lines)); got != 1 || time.Since(started) != 0 {
			t.Errorf("at the end: %d lines after %v", got, time.Since(started))
		}
	})
}
