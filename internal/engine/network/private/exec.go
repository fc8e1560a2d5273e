package private

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// Exec runs the current program with args in namespaces of its own and returns its exit code when it ends. The program
// there finds the listeners with Inherited. SIGINT and SIGTERM are passed on. Exec closes the listeners, whatever
// happens. A kernel that forbids it gives an error that names the setting.
//
// The program inside is a process group of its own, so that Ctrl-C on a terminal reaches it once, through this process,
// and not twice.
func Exec(listeners map[string]net.Listener, args []string) (exitCode int, err error) {
	files, names, err := descriptors(listeners)
	defer closeAll(files)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), variable+"="+names)
	cmd.SysProcAttr = attributes(os.Geteuid(), os.Getegid())

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	// The kernel sends the parent-death signal when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting in a private network: %w", explain(err, readSettings()))
	}
	done := make(chan struct{})
	defer close(done)
	go passOn(cmd.Process, signals, done)
	return code(cmd.Wait())
}

// attributes asks for the namespaces. The mount namespace comes by unshare, because Go then also detaches its mounts
// from the machine's.
func attributes(uid, gid int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWNET,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
		Setpgid:      true,
	}
	if uid != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return a
}

func passOn(p *os.Process, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			// It may have ended just now, which Wait notices.
			_ = p.Signal(s)
		case <-done:
			return
		}
	}
}

// code is the exit code of a program that ended. One ended by a signal has the code a shell gives it.
func code(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
