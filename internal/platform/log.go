package platform

import (
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// openDir takes the data directory and opens the log in it. The result gives both back.
func openDir(dir engine.Dir) (log *slog.Logger, closeDir func(), err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, err
	}
	log, file, err := openLog(dir)
	if err != nil {
		_ = lock.Close()
		return nil, nil, err
	}
	return log, func() { _ = file.Close(); _ = lock.Close() }, nil
}

func logFile(dir engine.Dir) string { return filepath.Join(string(dir), "platform.log") }

// maxLog is the size at which the log of the last run is moved aside before a new one starts.
const maxLog = 16 << 20

// openLog opens the platform's log and sends what Kubernetes' own packages have to say there as well: the terminal is
// the user's.
func openLog(dir engine.Dir) (*slog.Logger, io.Closer, error) {
	path := logFile(dir)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, nil, fmt.Errorf("moving the log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log: %w", err)
	}
	log := slog.New(slog.NewTextHandler(f, nil))
	stdlog.SetOutput(f)
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelWarn})))
	return log, f, nil
}

// mute sends what is written to standard error to the file at path, until unmute is called.
func mute(path string) (unmute func(), err error) {
	nothing := func() {}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nothing, err
	}
	defer log.Close()
	saved, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nothing, err
	}
	if err := unix.Dup3(int(log.Fd()), unix.Stderr, 0); err != nil {
		_ = unix.Close(saved)
		return nothing, err
	}
	return func() {
		_ = unix.Dup3(saved, unix.Stderr, 0)
		_ = unix.Close(saved)
	}, nil
}
