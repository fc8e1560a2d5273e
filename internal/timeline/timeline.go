package timeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	keepRecords = 10_000
	maxFile     = 8 << 20

	currentFile = "timeline.jsonl"
	olderFile   = "timeline.older.jsonl"
)

// Timeline is an open timeline. Its methods may be called at the same time from anywhere; on a nil Timeline Add does
// nothing and List is empty, so that a part of the platform works without one.
type Timeline struct {
	dir string

	mu       sync.Mutex
	file     *os.File
	size     int64
	ring     []Record // up to keepRecords; the oldest is at next once it is full
	next     int
	watchers map[chan Record]struct{}
}

// Open opens the timeline in dir, which it makes if it is not there, mode 0700. Only one process may have it open.
func Open(dir string) (*Timeline, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening timeline: %w", err)
	}
	if err := cutTorn(filepath.Join(dir, currentFile)); err != nil {
		return nil, fmt.Errorf("opening timeline: %w", err)
	}
	records, err := Load(dir)
	if err != nil {
		return nil, err
	}
	t := &Timeline{dir: dir, ring: records, watchers: map[chan Record]struct{}{}}
	if err := t.openFile(); err != nil {
		return nil, fmt.Errorf("opening timeline: %w", err)
	}
	return t, nil
}

// Load reads the last 10,000 records in dir, oldest first, while another process may be writing. A folder that is not
// there holds none.
func Load(dir string) ([]Record, error) {
	current, err := readLast(filepath.Join(dir, currentFile), keepRecords)
	if err != nil {
		return nil, fmt.Errorf("reading timeline: %w", err)
	}
	older, err := readLast(filepath.Join(dir, olderFile), keepRecords-len(current))
	if err != nil {
		return nil, fmt.Errorf("reading timeline: %w", err)
	}
	return append(older, current...), nil
}

// Add appends a record. It does not fail: a record that cannot be written, because the disk is full for example, is
// kept in memory and the failure is logged.
func (t *Timeline) Add(r Record) {
	if t == nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r = r.normal()

	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.write(r); err != nil {
		slog.Error("timeline record kept in memory only", "object", r.Object.String(), "action", r.Action, "err", err)
	}
	t.remember(r)
	for ch := range t.watchers {
		select {
		case ch <- r:
		default:
			t.dropLocked(ch)
		}
	}
}

// List returns the records that f chooses, newest first.
func (t *Timeline) List(f Filter) []Record {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Record
	for i := range t.ring {
		r := t.ring[(t.next+len(t.ring)-1-i)%len(t.ring)]
		if !f.Match(r) {
			continue
		}
		out = append(out, r)
		if len(out) == f.Limit {
			break
		}
	}
	return out
}

// watchBuffer is how many records a reader may lag behind.
const watchBuffer = 256

// Watch sends each record added from now on. The channel is closed when ctx ends, when the timeline is closed, and when
// the reader is more than 256 records behind: no reader slows the platform down, and none misses records without
// knowing. A reader whose ctx has not ended then calls List and Watch again.
func (t *Timeline) Watch(ctx context.Context) <-chan Record {
	ch := make(chan Record, watchBuffer)
	if t == nil {
		context.AfterFunc(ctx, func() { close(ch) })
		return ch
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers == nil {
		close(ch)
		return ch
	}
	t.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dropLocked(ch)
	})
	return ch
}

// Close ends the watches and closes the file. Records added later stay in memory.
func (t *Timeline) Close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ch := range t.watchers {
		t.dropLocked(ch)
	}
	t.watchers = nil
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}

// dropLocked closes ch once; the caller holds mu.
func (t *Timeline) dropLocked(ch chan Record) {
	if _, ok := t.watchers[ch]; ok {
		delete(t.watchers, ch)
		close(ch)
	}
}

func (t *Timeline) remember(r Record) {
	if len(t.ring) < keepRecords {
		t.ring = append(t.ring, r)
		return
	}
	t.ring[t.next] = r
	t.next = (t.next + 1) % len(t.ring)
}

func (t *Timeline) openFile() error {
	f, err := os.OpenFile(filepath.Join(t.dir, currentFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	t.file, t.size = f, info.Size()
	return nil
}

// write appends r to the file, after making room for it. A line that the disk took only in part is taken back, so that
// the next one does not continue it.
func (t *Timeline) write(r Record) error {
	if t.file == nil {
		return os.ErrClosed
	}
	line, err := r.encode()
	if err != nil {
		return err
	}
	if t.size+int64(len(line)) > maxFile {
		if err := t.rotate(); err != nil {
			return err
		}
	}
	n, err := t.file.Write(line)
	if err != nil && n > 0 {
		return errors.Join(err, t.file.Truncate(t.size))
	}
	t.size += int64(n)
	return err
}

func (t *Timeline) rotate() error {
	if err := os.Rename(filepath.Join(t.dir, currentFile), filepath.Join(t.dir, olderFile)); err != nil {
		return fmt.Errorf("rotating timeline: %w", err)
	}
	full := t.file
	if err := t.openFile(); err != nil {
		return fmt.Errorf("rotating timeline: %w", err)
	}
	return full.Close()
}

// cutTorn shortens the file to its last complete line.
func cutTorn(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if complete := bytes.LastIndexByte(b, '\n') + 1; complete < len(b) {
		return os.Truncate(path, int64(complete))
	}
	return nil
}

// readLast reads the last n records of a file, oldest first. It starts at the end, so that a start of the platform
// pays for the records it keeps only.
func readLast(path string, n int) ([]Record, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	var records []Record
	for len(b) > 0 && len(records) < n {
		start := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
		if r, err := parse(b[start:]); err == nil {
			records = append(records, r)
		}
		b = b[:start]
	}
	slices.Reverse(records)
	return records, nil
}
