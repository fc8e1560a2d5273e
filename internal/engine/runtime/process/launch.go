package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

// launcher starts processes from one operating-system thread that lives as long as the node: the kernel kills a
// process with the thread that started it, not with the program (PR_SET_PDEATHSIG).
type launcher struct {
	// self is this program, opened read-only through a mount of its own: a container that runs as root could
	// otherwise write to the program's file through /proc/PID/exe.
	self   *os.File
	calls  chan func()
	closed chan struct{}
}

func newLauncher() (*launcher, error) {
	self, err := openSelf()
	if err != nil {
		return nil, fmt.Errorf("opening this program: %w", err)
	}
	l := &launcher{self: self, calls: make(chan func()), closed: make(chan struct{})}
	go l.loop()
	return l, nil
}

func (l *launcher) loop() {
	runtime.LockOSThread() // never unlocked: the thread ends with the loop
	for {
		select {
		case call := <-l.calls:
			call()
		case <-l.closed:
			return
		}
	}
}

var errClosed = errors.New("the runtime is closed")

// do runs f on the launcher's thread.
func (l *launcher) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case l.calls <- func() { done <- f() }:
		return <-done
	case <-l.closed:
		return errClosed
	}
}

// close ends the thread, and with it every process that is left.
func (l *launcher) close() error {
	close(l.closed)
	return l.self.Close()
}

// openSelf returns a descriptor above those a child is given, since it is executed by its number.
func openSelf() (*os.File, error) {
	tree, err := readOnlySelf()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(tree) }()
	const above = 64
	fd, err := unix.FcntlInt(uintptr(tree), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "self"), nil
}

// readOnlySelf opens this program through a mount that cannot be written. A program that was started in another mount
// namespace, or whose file was replaced since, is not found by its path; then the file itself has to do.
func readOnlySelf() (int, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return -1, err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil || !isSelf(tree) {
		if err == nil {
			_ = unix.Close(tree)
		}
		return unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return tree, unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

func isSelf(fd int) bool {
	var self, other unix.Stat_t
	if unix.Stat("/proc/self/exe", &self) != nil || unix.Fstat(fd, &other) != nil {
		return false
	}
	return self.Dev == other.Dev && self.Ino == other.Ino
}

// command is a process to start through the shim.
type command struct {
	spec shim.Spec
	// stdio are the standard streams; ignored with spec.Terminal.
	stdio [3]*os.File
	// namespaces to join, a mount namespace last.
	namespaces []*os.File
	// pids is the PID namespace to start in. Nil: the node's.
	pids *os.File
	// create are the CLONE_NEW flags of namespaces to create.
	create uintptr
}

// process is a child that runs or has run.
type process struct {
	pid   int
	pidfd *os.File
	// terminal is the controlling side of the process's terminal, if it has one.
	terminal *os.File
	// done is closed after status was set.
	done   chan struct{}
	status unix.WaitStatus
}

// start returns when the program runs, or with the reason why it does not. ctx limits the start only.
func (l *launcher) start(ctx context.Context, c *command) (*process, error) {
	control, remote, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	p, err := l.fork(c, remote)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.signal(unix.SIGKILL) })
	defer stop()
	if err := p.instruct(control, &c.spec); err != nil {
		p.kill()
		_ = closeAll(p.terminal)
		return nil, errors.Join(err, ctx.Err())
	}
	return p, nil
}

func (l *launcher) fork(c *command, remote *os.File) (*process, error) {
	pidfd := -1
	attr := &syscall.ProcAttr{
		// The shim lives for milliseconds: it needs neither parallelism nor garbage collection.
		Env:   []string{"GOMAXPROCS=1", "GOGC=off"},
		Files: []uintptr{0, 0, 0, remote.Fd()},
		// Not Pdeathsig: the library takes a parent in another PID namespace for dead. The shim asks for it.
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd, Cloneflags: c.create},
	}
	for i, f := range c.stdio {
		attr.Files[i] = f.Fd()
	}
	for _, ns := range c.namespaces {
		attr.Files = append(attr.Files, ns.Fd())
	}
	c.spec.Namespaces = len(c.namespaces)
	var pid int
	fork := func() (err error) {
		pid, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", l.self.Fd()), []string{shim.Name}, attr)
		return err
	}
	var err error
	ended := make(chan struct{})
	if c.pids == nil {
		err = l.do(fork)
	} else {
		err = within(c.pids, fork, ended)
	}
	_ = remote.Close()
	if err != nil {
		return nil, fmt.Errorf("starting the container's first process: %w", err)
	}
	p, err := newProcess(pid, pidfd, ended)
	if err != nil {
		close(ended)
	}
	return p, err
}

// within runs f on a thread of its own, whose children go to another PID namespace, and keeps the thread until ended is
// closed, because what f starts dies with it. The thread cannot come back for other work: entering the PID namespace it
// came from takes rights over it that a user namespace does not give.
func within(pids *os.File, f func() error, ended <-chan struct{}) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the function
		err := unix.Setns(int(pids.Fd()), unix.CLONE_NEWPID)
		if err != nil {
			err = fmt.Errorf("entering the PID namespace: %w", err)
		} else {
			err = f()
		}
		result <- err
		if err == nil {
			<-ended
		}
	}()
	return <-result
}

// newProcess watches over a process that was started, and closes ended when it has.
func newProcess(pid, pidfd int, ended chan struct{}) (*process, error) {
	// Non-blocking, so that waiting for the end parks a goroutine in the poller rather than a thread in the kernel.
	if err := unix.SetNonblock(pidfd, true); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p := &process{pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd"), done: ended}
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	go p.wait(conn)
	return p, nil
}

func (p *process) wait(conn syscall.RawConn) {
	defer close(p.done)
	_ = conn.Read(func(uintptr) bool {
		var status unix.WaitStatus
		got, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
		for errors.Is(err, unix.EINTR) {
			got, err = unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
		}
		p.status = status
		return got == p.pid || err != nil
	})
}

// signal reaches exactly this process, or nobody when it has ended.
func (p *process) signal(s unix.Signal) error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	return sent
}

// kill ends the process and forgets it.
func (p *process) kill() {
	_ = p.signal(unix.SIGKILL)
	<-p.done
	_ = p.pidfd.Close()
}

// exitCode is what a shell would report.
func (p *process) exitCode() int32 {
	if p.status.Signaled() {
		return 128 + int32(p.status.Signal())
	}
	return int32(p.status.ExitStatus())
}

// instruct tells the shim what to become and waits for its answer.
func (p *process) instruct(control *net.UnixConn, spec *shim.Spec) error {
	if err := json.NewEncoder(control).Encode(spec); err != nil {
		return p.early(err)
	}
	if err := control.CloseWrite(); err != nil {
		return p.early(err)
	}
	answer, err := p.listen(control)
	if err != nil {
		return err
	}
	ready, failure, failed := strings.Cut(answer, string(shim.StatusError))
	if failed {
		return errors.New(failure)
	}
	if ready != string(shim.StatusReady) {
		return p.early(io.ErrUnexpectedEOF)
	}
	return nil
}

// listen reads until the shim has become the program or has ended. Terminals arrive on the way.
func (p *process) listen(control *net.UnixConn) (string, error) {
	var answer []byte
	buf, oob := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := control.ReadMsgUnix(buf, oob)
		if oobn > 0 {
			if p.terminal, err = receiveTerminal(oob[:oobn]); err != nil {
				return "", err
			}
		}
		for _, b := range buf[:n] {
			if b != shim.StatusTerminal || len(answer) > 0 {
				answer = append(answer, b)
			}
		}
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return string(answer), nil
		}
		if err != nil {
			return "", p.early(err)
		}
	}
}

func receiveTerminal(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receiving the terminal: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("receiving the terminal: %w", err)
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("receiving the terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// early explains a shim that ended without an answer.
func (p *process) early(err error) error {
	p.kill()
	if p.status.Signaled() {
		return fmt.Errorf("the container's first process ended by signal %q before the program started", p.status.Signal())
	}
	return fmt.Errorf("the container's first process ended with %d before the program started: %w", p.status.ExitStatus(), err)
}

// duplicate makes copies of open files, for use beyond the lock that guards the originals.
func duplicate(files ...*os.File) ([]*os.File, error) {
	var copies []*os.File
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("duplicating %s: %w", f.Name(), err), closeAll(copies...))
		}
		copies = append(copies, os.NewFile(uintptr(fd), f.Name()))
	}
	return copies, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	local, remote := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	conn, err := net.FileConn(local)
	_ = local.Close()
	if err != nil {
		_ = remote.Close()
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), remote, nil
}
