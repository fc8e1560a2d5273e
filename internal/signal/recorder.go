package signal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// segmentBytes is how large one file of a recording grows.
	segmentBytes = 8 << 20
	// RecordingBytes is how large all files of a recording are together: the oldest go.
	RecordingBytes = 512 << 20

	segmentSuffix = ".signals"
	// segmentName is the time of the first facts, so that names sort by time.
	segmentName = "20060102T150405.000Z"
)

// FileRecorder keeps a recording in a folder, in files of segmentBytes, at most RecordingBytes of them. A process that is
// killed loses what did not fill a block yet: at most five minutes.
type FileRecorder struct {
	dir string
	log *slog.Logger
	// limit and segment are RecordingBytes and segmentBytes, but in tests.
	limit, segment int64

	file   *os.File
	writer *Writer
	// failed is whether the last attempt to write did, so that the log says it once.
	failed bool
}

// NewFileRecorder records into a folder, which is made when there is something to record.
func NewFileRecorder(dir string, log *slog.Logger) *FileRecorder {
	return &FileRecorder{dir: dir, log: log, limit: RecordingBytes, segment: segmentBytes}
}

// Record implements Recorder. A disk that is full loses facts, and the log says so; it stops nothing.
func (r *FileRecorder) Record(at time.Time, all []Recorded) {
	err := r.record(at, all)
	if err != nil && !r.failed {
		r.log.Error("signals not recorded", "err", err)
	}
	r.failed = err != nil
	if err != nil {
		// What follows goes to a new file: this one may end within a record.
		_ = r.close()
	}
}

func (r *FileRecorder) record(at time.Time, all []Recorded) error {
	if r.writer != nil && r.writer.Written >= r.segment {
		if err := r.Close(); err != nil {
			return err
		}
	}
	if r.writer == nil {
		if err := r.open(at); err != nil {
			return err
		}
	}
	for i := range all {
		if err := r.writer.Add(all[i].Workload, &all[i].Facts); err != nil {
			return fmt.Errorf("writing %q: %w", r.file.Name(), err)
		}
	}
	return r.writer.Sync()
}

// open begins a file and makes room for it.
func (r *FileRecorder) open(at time.Time) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the recording: %w", err)
	}
	if err := r.makeRoom(); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.dir, at.UTC().Format(segmentName)+segmentSuffix), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("beginning a file of the recording: %w", err)
	}
	r.file, r.writer = f, NewWriter(f)
	return nil
}

// makeRoom removes the oldest files until one more fits.
func (r *FileRecorder) makeRoom() error {
	files, err := segments(r.dir)
	if err != nil {
		return err
	}
	var total int64
	for _, path := range slices.Backward(files) {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("looking at the recording: %w", err)
		}
		if total += info.Size(); total+r.segment <= r.limit {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("making room for the recording: %w", err)
		}
	}
	return nil
}

// Close writes what there is.
func (r *FileRecorder) Close() error {
	if r.writer == nil {
		return nil
	}
	return errors.Join(r.writer.Flush(), r.close())
}

func (r *FileRecorder) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file, r.writer = nil, nil
	return err
}

// segments are the files of a recording, oldest first.
func segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the recording: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// ReadRecording calls f with the facts that a recording holds: path is the folder a platform records into, or one file.
// Of a folder, files that end before since are left out. only and the order are as with Reader.
func ReadRecording(path string, since time.Time, only func(Workload) bool, f func(Workload, *Facts) error) error {
	return eachFile(path, since, func(r *Reader) error {
		r.Only = only
		return r.Each(func(w Workload, facts *Facts) error {
			if facts.At.Before(since) {
				return nil
			}
			return f(w, facts)
		})
	})
}

// ReadRows is ReadRecording of everything, as Reader.EachRows gives it.
func ReadRows(path string, only func(Workload) bool, f func(*Rows) error) error {
	return eachFile(path, time.Time{}, func(r *Reader) error {
		r.Only = only
		return r.EachRows(f)
	})
}

// eachFile calls read for the files of a recording that do not end before a time, the oldest first.
func eachFile(path string, since time.Time, read func(*Reader) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("opening the recording: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		all, err := segments(path)
		if err != nil {
			return err
		}
		files = endingAfter(all, since)
	}
	for _, file := range files {
		if err := readFile(file, read); err != nil {
			return fmt.Errorf("reading %q: %w", file, err)
		}
	}
	return nil
}

// endingAfter leaves out files whose successor begins before a time.
func endingAfter(files []string, since time.Time) []string {
	for len(files) > 1 {
		name := strings.TrimSuffix(filepath.Base(files[1]), segmentSuffix)
		if begin, err := time.Parse(segmentName, name); err != nil || begin.After(since) {
			break
		}
		files = files[1:]
	}
	return files
}

func readFile(path string, read func(*Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = read(NewReader(file))
	if errors.Is(err, ErrNoRecording) && emptyFile(file) {
		return nil // the machine stopped before the first block
	}
	return err
}

func emptyFile(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Size() < int64(len(recordingMagic))
}

// Export copies a part of a recording into one stream: of the workloads only says, since a time. It returns how many
// facts there were.
func Export(path string, since time.Time, only func(Workload) bool, out io.Writer) (facts int, err error) {
	buffered := bufio.NewWriter(out)
	w := NewWriter(buffered)
	err = ReadRecording(path, since, only, func(workload Workload, f *Facts) error {
		facts++
		return w.Add(workload, f)
	})
	return facts, errors.Join(err, w.Flush(), buffered.Flush())
}
