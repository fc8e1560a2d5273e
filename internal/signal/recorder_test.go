package signal

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func recorder(t *testing.T, log *bytes.Buffer) *FileRecorder {
	t.Helper()
	r := NewFileRecorder(filepath.Join(t.TempDir(), "signals"), slog.New(slog.NewTextHandler(log, nil)))
	r.segment, r.limit = 4096, 4*4096
	return r
}

func TestARecordingIsBoundedAndKeepsTheNewest(t *testing.T) {
	var log bytes.Buffer
	r := recorder(t, &log)
	const ticks = 5000
	for i := range ticks {
		f := busy(i)
		r.Record(f.At, []Recorded{{numbered(0), *f}})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := segments(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	// A file ends with the block that makes it full.
	if most := r.limit + r.segment; total > most || len(files) < 3 {
		t.Errorf("%d files take %d bytes, want several of at most %d", len(files), total, most)
	}
	var last, since time.Time
	n := 0
	err = ReadRecording(r.dir, since, nil, func(_ Workload, f *Facts) error {
		if !f.At.After(last) {
			t.Fatalf("%v comes after %v", f.At, last)
		}
		last = f.At
		n++
		return nil
	})
	if err != nil || !last.Equal(busy(ticks-1).At) || n >= ticks {
		t.Errorf("%d facts up to %v: %v", n, last, err)
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
}

func TestAPartOfARecordingCanBeExported(t *testing.T) {
	var log, out bytes.Buffer
	r := recorder(t, &log)
	for i := range 600 {
		f := busy(i)
		r.Record(f.At, []Recorded{{numbered(0), *f}, {numbered(1), *f}})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	only := func(w Workload) bool { return w == numbered(1) }
	n, err := Export(r.dir, busy(400).At, only, &out)
	if err != nil || n != 200 {
		t.Fatalf("%d facts were exported, want 200: %v", n, err)
	}
	all := played(t, NewReader(&out))
	if got := all[numbered(1)]; len(all) != 1 || len(got) != 200 || !got[0].At.Equal(busy(400).At) {
		t.Errorf("the export holds %d workloads and %d facts", len(all), len(got))
	}
}

func TestADiskThatFailsIsSaidOnceAndRecordingGoesOn(t *testing.T) {
	var log bytes.Buffer
	r := recorder(t, &log)
	if err := os.WriteFile(r.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.Record(busy(i).At, []Recorded{{numbered(0), *busy(i)}})
	}
	if n := strings.Count(log.String(), "signals not recorded"); n != 1 {
		t.Errorf("the log says it %d times, want once:\n%s", n, &log)
	}
	if err := os.Remove(r.dir); err != nil {
		t.Fatal(err)
	}
	r.Record(busy(5).At, []Recorded{{numbered(0), *busy(5)}})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var at []time.Time
	if err := ReadRecording(r.dir, time.Time{}, nil, func(_ Workload, f *Facts) error { at = append(at, f.At); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(at, []time.Time{busy(5).At}) {
		t.Errorf("recorded %v, want the facts since the disk works", at)
	}
}
