package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// maxLine is where a line is split, as in other runtimes; the kubelet joins the parts again.
const maxLine = 16 << 10

// logFile is a container's log in CRI format: time, stream, F for a whole line or P for a part of one, text. Rotation
// is the kubelet's: it renames the file and calls reopen.
type logFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	file   *os.File
	failed bool
}

// openLog opens the log at path, or discards everything when the path is empty.
func openLog(path string, log *slog.Logger) (*logFile, error) {
	l := &logFile{path: path, log: log}
	return l, l.reopen()
}

// reopen continues in a new file at the same path.
func (l *logFile) reopen() error {
	if l.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("log %q: %w", l.path, err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("log %q: %w", l.path, err)
	}
	l.mu.Lock()
	old := l.file
	l.file = f
	l.mu.Unlock()
	return closeAll(old)
}

// write appends whole entries. A container must not stand still because its log cannot be written: entries are lost
// then, and the node's log says so once.
func (l *logFile) write(entries []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	if _, err := l.file.Write(entries); err != nil && !l.failed {
		l.failed = true
		l.log.Error("container log cannot be written, output is lost", "path", l.path, "error", err)
	}
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := closeAll(l.file)
	l.file = nil
	return err
}

// lines turns chunks of output into log entries.
type lines struct {
	stream string
	rest   []byte
}

// add appends to dst the entries that are complete with chunk.
func (l *lines) add(dst []byte, now time.Time, chunk []byte) []byte {
	for len(chunk) > 0 {
		room := maxLine - len(l.rest)
		end := bytes.IndexByte(chunk[:min(len(chunk), room+1)], '\n')
		switch {
		case end >= 0:
			dst = l.entry(dst, now, 'F', chunk[:end])
			chunk = chunk[end+1:]
		case len(chunk) > room:
			dst = l.entry(dst, now, 'P', chunk[:room])
			chunk = chunk[room:]
		default:
			l.rest = append(l.rest, chunk...)
			return dst
		}
	}
	return dst
}

// flush appends what is left when the stream has ended.
func (l *lines) flush(dst []byte, now time.Time) []byte {
	if len(l.rest) == 0 {
		return dst
	}
	return l.entry(dst, now, 'F', nil)
}

func (l *lines) entry(dst []byte, now time.Time, tag byte, text []byte) []byte {
	dst = now.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, ' ')
	dst = append(dst, l.stream...)
	dst = append(dst, ' ', tag, ' ')
	dst = append(dst, l.rest...)
	dst = append(dst, text...)
	l.rest = l.rest[:0]
	return append(dst, '\n')
}

// copyOutput moves a stream of a container to its log and to who is attached, until the last byte.
func copyOutput(r io.Reader, stream string, log *logFile, attached *fanout) {
	in := make([]byte, 4<<10)
	var out []byte
	l := lines{stream: stream}
	for {
		n, err := r.Read(in)
		if n > 0 {
			out = l.add(out[:0], time.Now().UTC(), in[:n])
			log.write(out)
			attached.send(stream, in[:n])
		}
		// A container that writes much gets room for much.
		if n == len(in) && len(in) < maxLine {
			in = make([]byte, 2*len(in))
		}
		if err != nil {
			log.write(l.flush(nil, time.Now().UTC()))
			return
		}
	}
}

// closeAll closes what is open.
func closeAll(files ...*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// terminalReader reads a terminal, whose end is an error rather than an end.
type terminalReader struct{ *os.File }

func (t terminalReader) Read(p []byte) (int, error) {
	n, err := t.File.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}
