package fastpath

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls on the way of every byte are raw: they never block, so the scheduler need not know of them.

// receive reads what is there. It returns 0 and no error at the end of the stream.
func receive(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		if err == 0 {
			return int(n), 0
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// send writes as much as the kernel takes.
func send(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if err == 0 {
			return int(n), 0
		}
		if err != unix.EINTR {
			return 0, err
		}
	}
}

// atEnd says, without taking bytes, whether the peer has closed its side and sent nothing that is still to be read.
func atEnd(fd int32) bool {
	n, err := peek(fd)
	return err == 0 && n == 0 || err != 0 && err != unix.EAGAIN
}

// isSilent says that nothing, not even the end, came from the peer.
func isSilent(fd int32) bool {
	_, err := peek(fd)
	return err == unix.EAGAIN
}

func peek(fd int32) (int, syscall.Errno) {
	var b [1]byte
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1, unix.MSG_PEEK, 0, 0)
	return int(n), err
}

// waitEvents waits for at most the given milliseconds; below 0, without limit. It may block, so the scheduler knows.
func waitEvents(epoll int, events []unix.EpollEvent, milliseconds int) int {
	n, err := unix.EpollWait(epoll, events, milliseconds)
	if err != nil {
		return 0
	}
	return n
}

// everything is what a connection is watched for: edges, so that no call is needed to change it.
const everything = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1)

type option struct{ level, name, value int }

// backendOptions find out that a backend is gone without a word, as when its node lost its power: one that takes no
// bytes after ten seconds, and one that waits for an answer when probes find nobody.
var backendOptions = []option{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000},
}

// inherit sets on a listening socket what accepted ones take over: no delay of small segments, and probes of silent
// peers as the standard library sends them.
func inherit(fd int) error {
	for _, o := range []option{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setting option %d of the listening socket: %w", o.name, err)
		}
	}
	return nil
}

// socketAddress is an address as the kernel takes it.
func socketAddress(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// peerName is the address of an accepted connection without its port.
func peerName(a unix.Sockaddr) string {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr).String()
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap().String()
	}
	return ""
}

// connect starts a connection; done says that it is there already.
func connect(to unix.Sockaddr) (fd int, done bool, err error) {
	family := unix.AF_INET6
	if _, is4 := to.(*unix.SockaddrInet4); is4 {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false, fmt.Errorf("opening a socket: %w", err)
	}
	for _, o := range backendOptions {
		// What fails here would fail the connection too.
		_ = unix.SetsockoptInt(fd, o.level, o.name, o.value)
	}
	switch err = unix.Connect(fd, to); err {
	case nil:
		return fd, true, nil
	case unix.EINPROGRESS:
		return fd, false, nil
	}
	_ = unix.Close(fd)
	return 0, false, err
}

// connected is the result of a connection that was started before.
func connected(fd int32) error {
	code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if code != 0 {
		return syscall.Errno(code)
	}
	return nil
}

// listenerSocket duplicates the socket of a listener.
func listenerSocket(l *net.TCPListener) (fd int, err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(of uintptr) {
		fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return fd, err
}
