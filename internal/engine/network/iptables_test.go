package network

import (
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/escale-dev/escale/internal/engine/network/networktest"
)

// TestOtherFirewalls runs beside a firewall that drops everything it does not know, as ufw and Docker do.
func TestOtherFirewalls(t *testing.T) {
	networktest.Need(t)
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("needs the program iptables")
	}
	if f, err := os.OpenFile("/run/xtables.lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		t.Skip("iptables needs root: ", err)
	} else {
		f.Close()
	}
	t.Cleanup(func() { run(t, "nft", "delete", "table", "ip", "filter") })
	for _, chain := range []string{"INPUT", "FORWARD"} {
		run(t, "iptables", "-P", chain, "DROP")
	}
	run(t, "iptables", "-A", "INPUT", "-i", "lo", "-m", "comment", "--comment", "not escale", "-j", "ACCEPT")
	before := run(t, "iptables", "-S")

	h, err := Setup(testPlan(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	node := netip.MustParseAddr("10.42.4.1")
	if err := h.AddNode(node); err != nil {
		t.Fatal(err)
	}
	a := networktest.Pod(t, "a", netip.MustParseAddr("10.42.4.8"), node, testPlan().Host())
	b := networktest.Pod(t, "b", netip.MustParseAddr("10.42.4.9"), node, testPlan().Host())
	serve(t, b.Listen("10.42.4.9:80"))
	local(t, "10.42.0.1:80")
	for _, addr := range []string{"10.42.4.9:80", "10.42.0.1:80"} {
		if !a.Answers(addr) {
			t.Errorf("%s does not answer", addr)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if after := run(t, "iptables", "-S"); after != before {
		t.Errorf("the firewall was\n%s\nand is\n%s", before, after)
	}
}

func TestDeletions(t *testing.T) {
	listing := `-P FORWARD DROP
-A FORWARD -s 10.42.0.0/16 -m comment --comment escale -j ACCEPT
-A FORWARD -m comment --comment "not escale" -j ACCEPT
-A FORWARD -s 10.0.0.0/8 -m comment --comment escaler -j DROP
-A FORWARD -j DOCKER-USER
`
	want := [][]string{{"-D", "FORWARD", "-s", "10.42.0.0/16", "-m", "comment", "--comment", "escale", "-j", "ACCEPT"}}
	if got := deletions(listing); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzDeletions: what is deleted is a rule that was listed and bears the platform's mark.
func FuzzDeletions(f *testing.F) {
	f.Add("-A INPUT -m comment --comment escale -j ACCEPT\n")
	f.Add("-A --comment\n-A x --comment escale")
	f.Fuzz(func(t *testing.T, listing string) {
		for _, d := range deletions(listing) {
			if d[0] != "-D" || !slices.Contains(d, mark) || !slices.Contains(strings.Fields(listing), d[1]) {
				t.Errorf("%q", d)
			}
		}
	})
}
