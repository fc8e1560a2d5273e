package network

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine/network/networktest"
)

func TestReach(t *testing.T) {
	h := setup(t)
	node := netip.MustParseAddr("10.42.4.1")
	if err := h.AddNode(node); err != nil {
		t.Fatal(err)
	}
	lan := networktest.Neighbour(t)
	a := networktest.Pod(t, "a", netip.MustParseAddr("10.42.4.8"), node, testPlan().Host())
	b := networktest.Pod(t, "b", netip.MustParseAddr("10.42.4.9"), node, testPlan().Host())
	serve(t, b.Listen("10.42.4.9:80"))
	away := lan.Listen("192.0.2.7:80")
	local(t, "10.42.0.1:80")
	local(t, "192.0.2.1:80")

	t.Run("pods reach each other, the platform and the machine", func(t *testing.T) {
		for _, addr := range []string{"10.42.4.9:80", "10.42.0.1:80", "192.0.2.1:80"} {
			if !a.Answers(addr) {
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
		if !a.Answers("192.0.2.7:80") {
			t.Fatal("the outside does not answer")
		}
		if got := <-seen; got != "192.0.2.1" {
			t.Errorf("the outside sees %s, want 192.0.2.1", got)
		}
	})
	t.Run("another machine that routes to this one reaches its own address and nothing else", func(t *testing.T) {
		if !lan.Answers("192.0.2.1:80") {
			t.Fatal("the machine does not answer at all: the rest proves nothing")
		}
		for _, addr := range []string{"10.42.4.9:80", "10.42.4.1:80", "10.42.0.1:80", "10.43.0.1:80"} {
			if !lan.Silent(addr) {
				t.Errorf("%s answers", addr)
			}
		}
	})
	t.Run("a pod is told at once of a pod that is gone and of a Service nobody serves", func(t *testing.T) {
		for addr, want := range map[string]error{"10.42.5.5:80": unix.EHOSTUNREACH, "10.43.0.1:80": unix.ECONNREFUSED} {
			err := a.Do(func() error { _, err := net.Dial("tcp", addr); return err })
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
