package network

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network/networktest"
)

// killed makes a copy of this test program set a network up and wait to be killed.
const killed = "ESCALE_NETWORK_TEST_KILLED"

func TestMain(m *testing.M) {
	if os.Getenv(killed) != "" {
		os.Exit(waitToBeKilled())
	}
	networktest.Main(m)
}

func waitToBeKilled() int {
	h, err := Setup(testPlan(), quiet())
	if err == nil {
		err = h.AddNode(netip.MustParseAddr("10.42.4.1"))
	}
	if err == nil {
		err = networktest.AddVeth("escdead0", "escdead1")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func testPlan() engine.Network {
	plan, err := engine.NewNetwork(engine.DefaultNetwork)
	if err != nil {
		panic(err)
	}
	return plan
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func setup(t *testing.T) *Host {
	t.Helper()
	networktest.Need(t)
	h, err := Setup(testPlan(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		expectNothing(t)
	})
	return h
}

// expectNothing asserts that the network is as bare as before the test.
func expectNothing(t *testing.T) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if ours(l.Type(), l.Attrs().Name) {
			t.Errorf("interface %q is left", l.Attrs().Name)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) > 0 {
		t.Errorf("routes left: %v %v", routes, err)
	}
	if rules := run(t, "nft", "list", "ruleset"); strings.TrimSpace(rules) != "" {
		t.Errorf("rules left:\n%s", rules)
	}
	expectForwarding(t, "0")
}

func expectForwarding(t *testing.T, want string) {
	t.Helper()
	b, err := os.ReadFile(forwarding)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(b)); got != want {
		t.Errorf("net.ipv4.ip_forward is %s, want %s", got, want)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestSetupGivesTheMachineItsAddresses(t *testing.T) {
	h := setup(t)
	plan := testPlan()
	node, _, err := plan.Node(0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := h.AddNode(node); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []netip.Addr{plan.Host(), node} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			t.Errorf("listening on %s: %v", a, err)
			continue
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Errorf("connecting to %s: %v", a, err)
		} else {
			c.Close()
		}
		l.Close()
	}
	expectForwarding(t, "1")
	for range 2 {
		if err := h.RemoveNode(node); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := net.Listen("tcp", netip.AddrPortFrom(node, 0).String()); err == nil {
		l.Close()
		t.Error("a removed node's address is still here")
	}
}

func TestAddressesWithoutAPodFailAtOnce(t *testing.T) {
	setup(t)
	for name, c := range map[string]struct {
		addr string
		want error
	}{
		"a pod that is gone":               {"10.42.5.9:80", unix.EHOSTUNREACH},
		"a Service that nobody serves":     {"10.43.7.7:80", unix.ECONNREFUSED},
		"a port nobody listens on, Host()": {"10.42.0.1:81", unix.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := net.Dial("tcp", c.addr); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestConnectionsOfTheMachineComeFromThePlatform(t *testing.T) {
	setup(t)
	routes, err := netlink.RouteGet(net.IPv4(10, 43, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	if got := routes[0].Src.String(); got != "10.42.0.1" {
		t.Errorf("source towards Services is %s, want 10.42.0.1", got)
	}
}

func TestOnePlatformPerNetwork(t *testing.T) {
	setup(t)
	_, err := Setup(testPlan(), quiet())
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want %v", err, ErrInUse)
	}
	if want := fmt.Sprintf("process %d", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name %s", err, want)
	}
}

func TestSetupRemovesWhatAKilledPlatformLeft(t *testing.T) {
	networktest.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), killed+"=1")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 200)
	n, err := out.Read(said)
	if got := string(said[:n]); err != nil || got != "ready\n" {
		t.Fatalf("the platform to kill says %q (%v)", got, err)
	}
	for _, family := range []string{"ip", "ip6"} {
		run(t, "nft", "add", "table", family, kubeProxy)
		run(t, "nft", "add", "chain", family, kubeProxy, "services")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	expectForwarding(t, "1")

	setup(t)
	expectForwarding(t, "1")
	if _, err := netlink.LinkByName("escdead0"); err == nil {
		t.Error("a dead pod's interface is still here")
	}
	if l, err := net.Listen("tcp", "10.42.4.1:0"); err == nil {
		l.Close()
		t.Error("a dead platform's node address is still here")
	}
	// What remains, and that forwarding was off before the dead platform, is checked when setup's Close has run.
}

func TestSetupLeavesAnotherKubernetesAlone(t *testing.T) {
	networktest.Need(t)
	run(t, "nft", "add", "table", "ip", kubeProxy)
	run(t, "nft", "add", "chain", "ip", kubeProxy, "services")
	t.Cleanup(func() { run(t, "nft", "delete", "table", "ip", kubeProxy) })
	_, err := Setup(testPlan(), quiet())
	if err == nil || !strings.Contains(err.Error(), "--private-network") {
		t.Errorf("got %v, want an error that names --private-network", err)
	}
	if !strings.Contains(run(t, "nft", "list", "tables"), kubeProxy) {
		t.Error("the other Kubernetes lost its table")
	}
}

func TestSetupRefusesANetworkInUse(t *testing.T) {
	networktest.Need(t)
	if err := networktest.AddVeth("lan0", "lan1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "ip", "link", "delete", "lan0") })
	run(t, "ip", "addr", "add", "10.43.9.1/24", "dev", "lan0")
	_, err := Setup(testPlan(), quiet())
	if err == nil || !strings.Contains(err.Error(), `interface "lan0"`) || !strings.Contains(err.Error(), "--network 10.88.0.0/15") {
		t.Errorf("got %v, want an error that names the interface and the flag", err)
	}
	expectNothing(t)
}

func TestARunningPlatformIsNoConflict(t *testing.T) {
	setup(t)
	if err := CheckConflict(testPlan()); err != nil {
		t.Error(err)
	}
}

func TestSetupNeedsNft(t *testing.T) {
	networktest.Need(t)
	if _, err := os.Stat("/sbin/nft"); err == nil {
		// The program is looked for in /usr/sbin and /sbin too: hide those in this mount namespace.
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		}
	}
	t.Setenv("PATH", t.TempDir())
	_, err := Setup(testPlan(), quiet())
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "apt-get install nftables") {
		t.Errorf("got %v, want an error that says how to install nft", err)
	}
}
