package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isolated is a network namespace of the test's own, in which a platform may run as it runs on a machine. It exists
// until the test has ended, so that what a platform leaves behind can be seen. The nil value is the machine's network.
type isolated struct {
	file *os.File
}

// isolate makes one, with a loopback interface and nothing else.
func isolate(t *testing.T) *isolated {
	t.Helper()
	n := &isolated{}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if n.file != nil {
		t.Cleanup(func() { _ = n.file.Close() })
	}
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// onThread runs f on a thread that ends with it, so that f may change the thread's namespaces.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		result <- f()
	}()
	return <-result
}

// enter moves the calling thread into the network.
func (n *isolated) enter() error {
	if n == nil {
		return nil
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	return nil
}

// do runs f in the network: what it opens and starts is there.
func (n *isolated) do(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

func (n *isolated) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = n.do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return c, err
}
