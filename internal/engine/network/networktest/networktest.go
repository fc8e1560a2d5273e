// Package networktest gives tests a network of their own, and machines and pods on it. Nothing it makes outlives the
// test process, and nothing of it shows on the machine.
package networktest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine/network/private"
)

// own says whether this process has a network of its own, so that tests may change it.
var own bool

// Main runs the tests of a package in network and mount namespaces of their own, with or without privileges; call it
// from TestMain. The namespaces have a loopback interface and do not forward packets. Where the machine does not allow
// that, the tests that call Need are skipped.
func Main(m *testing.M) {
	if _, own = private.Inherited(); !own {
		code, err := private.Exec(nil, os.Args[1:])
		if err == nil {
			os.Exit(code)
		}
		fmt.Fprintln(os.Stderr, err)
	} else if err := bare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// bare makes the new namespace the same on every machine.
func bare() error {
	if _, err := up("lo", ""); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644)
}

// Need skips a test that needs a network of its own and the program nft, where there is none.
func Need(t testing.TB) {
	t.Helper()
	if !own {
		t.Skip("this machine allows no network of its own for tests")
	}
	if _, err := exec.LookPath("nft"); err == nil {
		return
	}
	if _, err := os.Stat("/usr/sbin/nft"); err != nil {
		t.Skip("needs the program nft")
	}
}

// Machine is a network namespace at the other end of a veth: another machine, or a pod.
type Machine struct {
	t    testing.TB
	work chan func()
}

// Neighbour is another machine, 192.0.2.7, that routes everything to this one, 192.0.2.1.
func Neighbour(t testing.TB) *Machine {
	t.Helper()
	m := connect(t, "lan0", "lan1")
	_, err := up("lan0", "192.0.2.1/24")
	err = errors.Join(err, m.Do(func() error {
		if _, err := up("lan1", "192.0.2.7/24"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 0, 2, 1)})
	}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Pod is a pod at addr, connected as the process runtime does it: through the address node, by an interface called
// "esc" and name, with host as the source of what this machine sends it.
func Pod(t testing.TB, name string, addr, node, host netip.Addr) *Machine {
	t.Helper()
	m := connect(t, "esc"+name, "eth0")
	l, err := up("esc"+name, "")
	if err != nil {
		t.Fatal(err)
	}
	err = netlink.RouteAdd(&netlink.Route{Dst: single(addr), LinkIndex: l.Attrs().Index, Src: host.AsSlice(), Scope: unix.RT_SCOPE_LINK})
	err = errors.Join(err, m.Do(func() error {
		l, err := up("eth0", addr.String()+"/32")
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Dst: single(node), LinkIndex: l.Attrs().Index, Scope: unix.RT_SCOPE_LINK}),
			netlink.RouteAdd(&netlink.Route{Gw: node.AsSlice()}),
		)
	}))
	if err != nil {
		t.Fatal(err)
	}
	running(t, "esc"+name)
	return m
}

// running waits until an interface sends what it is given. The kernel gets to that a moment after both ends of a cable
// are started; what is sent before is lost, and a lost connection request costs a second.
func running(t testing.TB, name string) {
	t.Helper()
	for {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return
		}
	}
}

// Do runs f in the machine.
func (m *Machine) Do(f func() error) error {
	done := make(chan error)
	m.work <- func() { done <- f() }
	return <-done
}

// Answers tells whether addr accepts a connection from the machine.
func (m *Machine) Answers(addr string) bool { return m.dial(addr, 10*time.Second) == nil }

// Silent tells whether addr accepts no connection from the machine. A dropped packet shows only as silence, which is
// awaited for a moment.
func (m *Machine) Silent(addr string) bool { return m.dial(addr, 300*time.Millisecond) != nil }

func (m *Machine) dial(addr string, patience time.Duration) error {
	return m.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Listen listens on an address of the machine until the test ends.
func (m *Machine) Listen(addr string) net.Listener {
	m.t.Helper()
	var l net.Listener
	err := m.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect makes a machine whose end of the cable is called far; the near end is in this namespace.
func connect(t testing.TB, near, far string) *Machine {
	t.Helper()
	m := &Machine{t: t, work: make(chan func())}
	started, tid := make(chan error), 0
	go func() {
		// The thread ends with this goroutine, because it stays locked, and the namespace with the thread.
		runtime.LockOSThread()
		tid = unix.Gettid()
		started <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range m.work {
			f()
		}
	}()
	t.Cleanup(func() {
		close(m.work)
		if l, err := netlink.LinkByName(near); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := AddVeth(near, far); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(far)
	if err == nil {
		err = netlink.LinkSetNsPid(l, tid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// AddVeth makes a cable with both ends in this namespace.
func AddVeth(name, peer string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer})
}

// up gives an interface an address, unless that is empty, and starts it.
func up(name, addr string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if addr != "" {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return nil, err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return nil, err
		}
	}
	return l, netlink.LinkSetUp(l)
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
