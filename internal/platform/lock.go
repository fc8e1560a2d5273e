package platform

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
)

// formatVersion is the layout of the data directory that this program writes. It reads every version up to this one.
const formatVersion = 1

// minFree is the disk space below which a platform does not start: etcd refuses writes when its disk fills, and a
// platform that starts and then cannot write is worse than one that says so.
const minFree = 256 << 20

// lockDir takes the data directory for this process until the returned file is closed, and checks that this program
// can use what is in it. The kernel releases the lock when the process ends, however it ends.
func lockDir(dir engine.Dir) (io.Closer, error) {
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return nil, fmt.Errorf("making data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(string(dir), "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock of data directory %q: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %q is in use by the platform with process id %s: stop that one, or choose another with --data-dir", dir, strings.TrimSpace(string(owner)))
		}
		return nil, fmt.Errorf("locking data directory %q: %w", dir, err)
	}
	if err := claim(dir, f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// claim writes the owner and the version into a locked data directory.
func claim(dir engine.Dir, lock *os.File) error {
	if err := checkFormat(dir); err != nil {
		return err
	}
	if err := checkSpace(dir); err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("writing lock of data directory %q: %w", dir, err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("writing lock of data directory %q: %w", dir, err)
	}
	return nil
}

func checkFormat(dir engine.Dir) error {
	path := filepath.Join(string(dir), "format")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile(path, []byte(strconv.Itoa(formatVersion)+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("reading format of data directory %q: %w", dir, err)
	}
	found, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("data directory %q: its file \"format\" holds %q, want a number: is this an escale data directory? choose another with --data-dir", dir, strings.TrimSpace(string(b)))
	}
	if found > formatVersion {
		return fmt.Errorf("data directory %q was written by a newer escale (format %d, this program knows up to %d): use that version, or choose another directory with --data-dir", dir, found, formatVersion)
	}
	return nil
}

func checkSpace(dir engine.Dir) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(string(dir), &fs); err != nil {
		return fmt.Errorf("asking for free space of %q: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < minFree {
		return fmt.Errorf("data directory %q has %d MiB free, and the cluster's store needs at least %d MiB to start safely: free some space, or choose another disk with --data-dir", dir, free>>20, minFree>>20)
	}
	return nil
}
