package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
)

// socketName is the socket's name in the data directory.
const socketName = "control.sock"

// Listen opens the socket in the data directory, in place of one that a platform left which was killed. The caller
// holds the directory's lock. The listener removes the socket when it is closed.
//
// The socket is made in a folder that nobody else can enter and moved when its mode is set, so that there is no moment
// at which another user could open it.
func Listen(dir engine.Dir) (net.Listener, error) {
	tmp, err := os.MkdirTemp(string(dir), "control-*") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	defer os.RemoveAll(tmp)
	var l *net.UnixListener
	err = inFolder(tmp, func(folder string) error {
		addr := &net.UnixAddr{Net: "unix", Name: filepath.Join(folder, socketName)}
		l, err = net.ListenUnix("unix", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the name it knows is not the one it will have
	if err := publish(filepath.Join(tmp, socketName), socketPath(dir)); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	return &listener{Listener: l, path: socketPath(dir)}, nil
}

func publish(from, to string) error {
	if err := os.Chmod(from, 0o600); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func socketPath(dir engine.Dir) string { return filepath.Join(string(dir), socketName) }

// listener removes its socket when it is closed.
type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	if gone := os.Remove(l.path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// dial connects to the socket in the data directory.
func dial(ctx context.Context, dir engine.Dir) (conn net.Conn, err error) {
	err = inFolder(string(dir), func(folder string) error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", filepath.Join(folder, socketName))
		return err
	})
	return conn, err
}

// inFolder calls f with a short name of the folder: a socket's path has at most 107 bytes, a data directory's has no
// such limit.
func inFolder(dir string, f func(folder string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd))
}
