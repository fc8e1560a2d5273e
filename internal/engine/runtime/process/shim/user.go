package shim

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// restrict gives up what the program must not have. All calls change this thread only, which is the one that executes
// the program; package syscall would stop the others to change them too.
func restrict(spec *Spec) error {
	if err := boundCapabilities(spec.Capabilities); err != nil {
		return err
	}
	if spec.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return wrap("giving up new privileges", err)
		}
	}
	if spec.User == nil {
		return nil
	}
	return spec.User.become()
}

// boundCapabilities takes all others out of the bounding set. Without the right to do that there are none to lose.
func boundCapabilities(keep uint64) error {
	for c := uintptr(0); c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			break
		}
		if err != nil {
			return wrap("dropping capability "+strconv.Itoa(int(c)), err)
		}
	}
	return nil
}

func (u *User) become() error {
	groups := make([]uint32, len(u.Groups)+1)
	for i, g := range u.Groups {
		groups[i] = uint32(g)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return wrap("setting the groups", errno)
	}
	gid := uintptr(u.GID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return wrap("becoming group "+strconv.Itoa(u.GID), errno)
	}
	uid := uintptr(u.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return wrap("becoming user "+strconv.Itoa(u.UID), errno)
	}
	return nil
}

// openTerminal makes a terminal of the container's own, sends its controlling side to the parent and makes the other
// the standard streams.
func openTerminal(user *User) error {
	master, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("opening a terminal", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return wrap("unlocking the terminal", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return wrap("naming the terminal", err)
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return wrap("opening the terminal", err)
	}
	if user != nil {
		// Not possible where ids cannot be switched, and then not needed either.
		_ = os.Chown(path, user.UID, -1)
	}
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return wrap("taking the terminal", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return wrap("using the terminal", err)
		}
	}
	if slave > 2 {
		_ = unix.Close(slave)
	}
	if err := unix.Sendmsg(controlFD, []byte{StatusTerminal}, unix.UnixRights(master), nil, 0); err != nil {
		return wrap("handing over the terminal", err)
	}
	return nil
}
