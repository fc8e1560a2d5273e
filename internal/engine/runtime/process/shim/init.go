package shim

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	controlFD   = 3
	namespaceFD = 4
)

// The house rule is that nothing happens by importing a package. This is the one exception, for the reason given in
// the package comment; it does nothing unless the process was started under the name that only the runtime uses.
func init() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	// Credentials, namespaces and the root belong to a thread, and it is this one that executes the program.
	runtime.LockOSThread()
	unix.CloseOnExec(controlFD)
	err := run()
	_, _ = unix.Write(controlFD, append([]byte{StatusError}, err.Error()...))
	unix.Exit(125)
}

// run becomes the program; it returns only with the reason why it did not.
func run() error {
	if err := dieWithParent(); err != nil {
		return err
	}
	spec, err := receive()
	if err != nil {
		return err
	}
	groups, err := openCgroups(spec.Cgroups)
	if err != nil {
		return err
	}
	if err := join(spec.Namespaces); err != nil {
		return err
	}
	if spec.Root != nil {
		if err := spec.Root.build(); err != nil {
			return err
		}
	}
	if err := enterCgroups(groups); err != nil {
		return err
	}
	setOOMScore(spec.OOMScoreAdj)
	if spec.Terminal {
		if err := openTerminal(spec.User); err != nil {
			return err
		}
	}
	// The folder may be impossible to create for a good reason; entering it says so.
	_ = os.MkdirAll(spec.Dir, 0o755)
	if err := restrict(spec); err != nil {
		return err
	}
	if err := dieWithParent(); err != nil {
		return err
	}
	return execute(spec)
}

func receive() (*Spec, error) {
	// Not os.NewFile(...).Close: the socket must stay open for the answer.
	var b []byte
	chunk := make([]byte, 16<<10)
	for {
		n, err := unix.Read(controlFD, chunk)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, wrap("reading what to run", err)
		}
		if n == 0 {
			break
		}
		b = append(b, chunk[:n]...)
	}
	spec := new(Spec)
	if err := json.Unmarshal(b, spec); err != nil {
		return nil, wrap("reading what to run", err)
	}
	if len(spec.Args) == 0 {
		return nil, errors.New("no program is named")
	}
	return spec, nil
}

// join enters the namespaces of the pod, or of the container to execute in.
func join(n int) error {
	if n == 0 {
		return nil
	}
	// A mount namespace can be joined only by a thread that shares its root with no other. In the container the other
	// processes must not be able to look into this one, which still is a program of the machine.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return wrap("leaving the shared root", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return wrap("hiding from the container", err)
	}
	for fd := namespaceFD; fd < namespaceFD+n; fd++ {
		unix.CloseOnExec(fd)
		if err := unix.Setns(fd, 0); err != nil {
			return wrap("joining namespace "+strconv.Itoa(fd-namespaceFD), err)
		}
	}
	return nil
}

func openCgroups(files []string) ([]int, error) {
	var fds []int
	for _, f := range files {
		fd, err := unix.Open(f, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, wrap("opening cgroup "+strconv.Quote(f), err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// enterCgroups moves this process by writing "0", which the kernel does without the lock that moving another takes.
func enterCgroups(fds []int) error {
	for _, fd := range fds {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return wrap("entering the cgroup", err)
		}
	}
	return nil
}

// setOOMScore does what it may: a lower value than the node's own needs a capability that not every machine gives.
func setOOMScore(score int) {
	if score == 0 {
		return
	}
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte(strconv.Itoa(score)))
	_ = unix.Close(fd)
}

// dieWithParent asks for SIGKILL when the node ends; the kernel forgets it when the user changes. If the node has ended
// already, the other end of the socket is closed.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return wrap("tying the program to the node", err)
	}
	fds := []unix.PollFd{{Fd: controlFD, Events: unix.POLLOUT}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return wrap("looking for the node", err)
	}
	if fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
		return errors.New("the node ended")
	}
	return nil
}

// defaultTimerSlack is the kernel's, in nanoseconds.
const defaultTimerSlack = 50_000

func execute(spec *Spec) error {
	if err := unix.Chdir(spec.Dir); err != nil {
		return wrap("entering the working directory "+strconv.Quote(spec.Dir), err)
	}
	path, err := lookup(spec.Args[0], variable(spec.Env, "PATH"))
	if err != nil {
		return err
	}
	unix.Umask(0o022)
	// The node's timers may come late; a program's come as on any machine.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, defaultTimerSlack, 0, 0, 0); err != nil {
		return wrap("giving the program exact timers", err)
	}
	if _, err := unix.Write(controlFD, []byte{StatusReady}); err != nil {
		return wrap("answering the node", err)
	}
	err = unix.Exec(path, spec.Args, spec.Env)
	return execError(spec.Args[0], err)
}

// execError says in words why the kernel did not start a program that is there.
func execError(program string, err error) error {
	name := "program " + strconv.Quote(program)
	switch {
	case errors.Is(err, unix.ENOENT):
		return errors.New(name + " needs an interpreter or a loader that is not on this machine and not in the image")
	case errors.Is(err, unix.ENOEXEC):
		return errors.New(name + " is neither a program for this machine nor a script that names its interpreter")
	case errors.Is(err, unix.EACCES):
		return errors.New(name + " must not be executed by this user")
	}
	return wrap("executing "+name, err)
}

// lookup finds a program the way a shell does. The folder of the image counts after the path, so that a program of the
// image can be named without a slash.
func lookup(program, path string) (string, error) {
	if strings.Contains(program, "/") {
		return program, executable(program, program)
	}
	var denied error
	for _, dir := range append(strings.Split(path, ":"), ImageDir, ImageDir+"/bin") {
		if dir == "" {
			continue
		}
		candidate := dir + "/" + program
		err := executable(program, candidate)
		if err == nil {
			return candidate, nil
		}
		if !errors.Is(err, errMissing) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", missing(program)
}

var errMissing = errors.New("is not on this machine and not in the image")

func missing(program string) error {
	return wrappedError{"program " + strconv.Quote(program) + " " + errMissing.Error(), errMissing}
}

func executable(program, path string) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return missing(program)
	case err != nil:
		return wrap("looking for program "+strconv.Quote(program), err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("program " + strconv.Quote(program) + " is not a file")
	}
	if unix.Access(path, unix.X_OK) != nil {
		return errors.New("program " + strconv.Quote(program) + " must not be executed by this user")
	}
	return nil
}

func variable(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// wrappedError is an error with a cause; package fmt is left out to start sooner.
type wrappedError struct {
	text  string
	cause error
}

func (w wrappedError) Error() string { return w.text }
func (w wrappedError) Unwrap() error { return w.cause }

func wrap(act string, err error) error { return wrappedError{act + ": " + err.Error(), err} }
