package engine

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestNetworkPlan(t *testing.T) {
	n, err := NewNetwork(DefaultNetwork)
	if err != nil {
		t.Fatal(err)
	}
	addr, pods, err := n.Node(2)
	if err != nil {
		t.Fatal(err)
	}
	last, _, err := n.Node(MaxNodes - 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"pods":          {n.Pods.String(), "10.42.0.0/16"},
		"services":      {n.Services.String(), "10.43.0.0/16"},
		"host":          {n.Host().String(), "10.42.0.1"},
		"third node":    {addr.String(), "10.42.12.1"},
		"its pods":      {pods.String(), "10.42.12.0/22"},
		"last node":     {last.String(), "10.42.248.1"},
		"containerd":    {n.Containerd().String(), "10.42.252.0/22"},
		"DNS service":   {n.DNSService().String(), "10.43.0.10"},
		"bridge's name": {n.Bridge(), "escale-10-42"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %s, want %s", what, pair[0], pair[1])
		}
	}
	if _, _, err := n.Node(MaxNodes); err == nil {
		t.Error("a node beyond the plan got containerd's addresses")
	}
}

func TestNetworkPlanRefuses(t *testing.T) {
	for _, bad := range []string{"", "10.42.0.0", "10.42.0.0/16", "10.43.0.0/15", "10.42.0.1/15", "fd00::/15", "hello/15"} {
		if n, err := NewNetwork(bad); err == nil {
			t.Errorf("NewNetwork(%q) = %v, want an error", bad, n)
		}
	}
}

func FuzzNewNetwork(f *testing.F) {
	f.Add(DefaultNetwork)
	f.Add("192.168.0.0/15")
	f.Fuzz(func(t *testing.T, cidr string) {
		n, err := NewNetwork(cidr)
		if err != nil {
			return
		}
		if n.Pods.Overlaps(n.Services) || !n.Pods.Contains(n.Host()) || !n.Services.Contains(n.DNSService()) || len(n.Bridge()) > 15 {
			t.Errorf("plan of %q is inconsistent: %+v", cidr, n)
		}
	})
}

func TestState(t *testing.T) {
	dir := Dir(t.TempDir())
	if _, err := dir.ReadState(); !errors.Is(err, ErrNoPlatform) {
		t.Errorf("an empty directory gave %v, want ErrNoPlatform", err)
	}
	want := State{State: "ready", PID: 7, Stages: []Stage{{Name: "etcd", Duration: time.Second}}}
	if err := dir.WriteState(want); err != nil {
		t.Fatal(err)
	}
	got, err := dir.ReadState()
	if err != nil || got.State != want.State || got.Stages[0] != want.Stages[0] {
		t.Errorf("got %+v, %v", got, err)
	}
	if fi, err := os.Stat(dir.StateFile()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the state file holds a login and has mode %v (%v), want 0600", fi.Mode(), err)
	}
	if err := os.WriteFile(dir.StateFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.ReadState(); err == nil {
		t.Error("a damaged state file was read without an error")
	}
}
