package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// logLimit is the size at which a node's log is moved to the old one, which it replaces.
	logLimit = 10 << 20
	// logCheck is how often the size is looked at.
	logCheck = 30 * time.Second
	// lineLimit bounds what of the last line is repeated elsewhere.
	lineLimit = 300
)

func logPath(dir string) string { return filepath.Join(dir, "node.log") }

// openLog opens the node's log for appending. The node writes to it directly, so nothing is lost when the platform dies.
func openLog(dir string) (*os.File, error) {
	f, err := os.OpenFile(logPath(dir), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the node's log: %w", err)
	}
	if err := rotate(f, logLimit); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// trimLog keeps the log within its limit until ctx ends.
func trimLog(ctx context.Context, f *os.File, log *slog.Logger) {
	tick := time.NewTicker(logCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := rotate(f, logLimit); err != nil {
				log.Warn("bounding a node's log", "file", f.Name(), "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rotate copies a log of at least limit bytes to FILE.old and empties it. The file stays the same one, because the node
// holds it open; lines written between the copy and the emptying are lost.
func rotate(f *os.File, limit int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("rotating %q: %w", f.Name(), err)
	}
	if info.Size() < limit {
		return nil
	}
	old, err := os.OpenFile(f.Name()+".old", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rotating %q: %w", f.Name(), err)
	}
	_, err = io.Copy(old, io.NewSectionReader(f, 0, info.Size()))
	if err := errors.Join(err, old.Close(), f.Truncate(0)); err != nil {
		return fmt.Errorf("rotating %q: %w", f.Name(), err)
	}
	return nil
}

// lastLine is the last line of a log that is not empty, cut to lineLimit bytes; "" if there is none.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	const window = 8 << 10
	tail, err := io.ReadAll(io.NewSectionReader(f, max(info.Size()-window, 0), window))
	if err != nil {
		return ""
	}
	tail = bytes.TrimRight(tail, "\n")
	line := tail[bytes.LastIndexByte(tail, '\n')+1:]
	return string(bytes.ToValidUTF8(line[:min(len(line), lineLimit)], nil))
}
