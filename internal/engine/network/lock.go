package network

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another platform runs in this network namespace.
var ErrInUse = errors.New("another platform uses this machine's network: stop it, or start this one with --private-network")

// lockName is an abstract socket address. Such names belong to the network namespace, which is what the lock protects,
// and end with the process that holds them, however it ends; see unix(7).
const lockName = "@escale/network"

// acquire takes the network namespace for this process until the result is closed.
func acquire() (net.Listener, error) {
	l, err := net.Listen("unix", lockName)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("process %d: %w", holder(), ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the network: %w", err)
	}
	return l, nil
}

// holder is the process that holds the lock, 0 if it cannot be told.
func holder() int32 {
	c, err := net.Dial("unix", lockName)
	if err != nil {
		return 0
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	var pid int32
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	if err != nil {
		return 0
	}
	return pid
}
