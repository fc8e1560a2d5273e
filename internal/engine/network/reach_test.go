package network

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machine is a network namespace at the other end of a veth: another machine, or a pod.
type machine struct {
	t    *testing.T
	work chan func()
}

// connect makes a machine whose end of the cable is called far; the near end is in this namespace.
func connect(t *testing.T, near, far string) *machine {
	t.Helper()
	m := &machine{t: t, work: make(chan func())}
	thread := make(chan int)
	go func() {
		// The thread ends with this goroutine, because it stays locked, and the namespace with the thread.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		thread <- unix.Gettid()
		for f := range m.work {
			f()
		}
	}()
	tid := <-thread
	t.Cleanup(func() { close(m.work) })
	if err := addVeth(near, far); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(near); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	l, err := netlink.LinkByName(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsPid(l, tid); err != nil {
		t.Fatal(err)
	}
	return m
}

// do runs f in the machine.
func (m *machine) do(f func() error) error {
	done := make(chan error)
	m.work <- func() { done <- f() }
	return <-done
}

// answers tells whether addr accepts a connection from the machine. A dropped packet shows only as silence.
func (m *machine) answers(addr string) bool {
	return m.do(func() error {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return err
		}
		return c.Close()
	}) == nil
}

// listen listens on an address of the machine.
func (m *machine) listen(addr string) net.Listener {
	m.t.Helper()
	var l net.Listener
	err := m.do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	return l
}

// up gives an interface an address and starts it.
func up(name, addr string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if addr != "" {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(addr))}); err != nil {
			return nil, err
		}
	}
	return l, netlink.LinkSetUp(l)
}

// neighbour is another machine, 192.0.2.7, that routes everything to this one, 192.0.2.1.
func neighbour(t *testing.T) *machine {
	t.Helper()
	m := connect(t, "lan0", "lan1")
	if _, err := up("lan0", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	err := m.do(func() error {
		if _, err := up("lan1", "192.0.2.7/24"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 0, 2, 1)})
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// pod is a pod connected as the process runtime does it.
func pod(t *testing.T, name, addr string) *machine {
	t.Helper()
	m := connect(t, "esc"+name, "eth0")
	l, err := up("esc"+name, "")
	if err != nil {
		t.Fatal(err)
	}
	whole := ipNet(netip.PrefixFrom(netip.MustParseAddr(addr), 32))
	route := &netlink.Route{Dst: whole, LinkIndex: l.Attrs().Index, Src: testPlan().Host().AsSlice(), Scope: unix.RT_SCOPE_LINK}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	err = m.do(func() error {
		l, err := up("eth0", addr+"/32")
		if err != nil {
			return err
		}
		gateway := netip.MustParsePrefix("10.42.4.1/32")
		link := &netlink.Route{Dst: ipNet(gateway), LinkIndex: l.Attrs().Index, Scope: unix.RT_SCOPE_LINK}
		return errors.Join(netlink.RouteAdd(link), netlink.RouteAdd(&netlink.Route{Gw: gateway.Addr().AsSlice()}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReach(t *testing.T) {
	h := setup(t)
	if err := h.AddNode(netip.MustParseAddr("10.42.4.1")); err != nil {
		t.Fatal(err)
	}
	lan := neighbour(t)
	a, b := pod(t, "a", "10.42.4.8"), pod(t, "b", "10.42.4.9")
	serve(t, b.listen("10.42.4.9:80"))
	away := lan.listen("192.0.2.7:80")
	local(t, "10.42.0.1:80")
	local(t, "192.0.2.1:80")

	t.Run("pods reach each other, the platform and the machine", func(t *testing.T) {
		for _, addr := range []string{"10.42.4.9:80", "10.42.0.1:80", "192.0.2.1:80"} {
			if !a.answers(addr) {
				t.Errorf("%s does not answer", addr)
			}
		}
	})
	t.Run("the machine reaches pods from the platform's address", func(t *testing.T) {
		c, err := net.Dial("tcp", "10.42.4.9:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "10.42.0.1" {
			t.Errorf("it comes from %s, want 10.42.0.1", got)
		}
	})
	t.Run("what a pod sends to the outside comes from the machine", func(t *testing.T) {
		seen := make(chan string, 1)
		go func() {
			c, err := away.Accept()
			if err != nil {
				seen <- err.Error()
				return
			}
			defer c.Close()
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			seen <- host
		}()
		if !a.answers("192.0.2.7:80") {
			t.Fatal("the outside does not answer")
		}
		if got := <-seen; got != "192.0.2.1" {
			t.Errorf("the outside sees %s, want 192.0.2.1", got)
		}
	})
	t.Run("another machine that routes to this one reaches its own address and nothing else", func(t *testing.T) {
		if !lan.answers("192.0.2.1:80") {
			t.Fatal("the machine does not answer at all: the rest proves nothing")
		}
		for _, addr := range []string{"10.42.4.9:80", "10.42.4.1:80", "10.42.0.1:80", "10.43.0.1:80"} {
			if lan.answers(addr) {
				t.Errorf("%s answers", addr)
			}
		}
	})
	t.Run("a pod is told at once of a pod that is gone and of a Service nobody serves", func(t *testing.T) {
		for addr, want := range map[string]error{"10.42.5.5:80": unix.EHOSTUNREACH, "10.43.0.1:80": unix.ECONNREFUSED} {
			err := a.do(func() error { _, err := net.Dial("tcp", addr); return err })
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", addr, err, want)
			}
		}
	})
}

// local listens on an address of this namespace and serves it.
func local(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve(t, l)
}

// serve closes each connection it accepts.
func serve(t *testing.T, l net.Listener) {
	t.Helper()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}
