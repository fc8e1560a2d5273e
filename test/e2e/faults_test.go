package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// One platform with the shop, on a network as a machine has it, lives through everything that may happen to it.
func TestFaults(t *testing.T) {
	needRoot(t)
	files, err := filepath.Abs("../../examples/shop")
	if err != nil {
		t.Fatal(err)
	}
	l := launch{dir: newDir(t), on: isolate(t), args: []string{files}}
	p := start(t, l)
	p.mustReady(t)
	if err := p.deployed(); err != nil {
		t.Fatal(err)
	}
	bought, err := (&shop{Client: p.http(t)}).buy()
	if err != nil {
		t.Fatal(err)
	}

	killNode(t, p, "node-b")
	p.answers(t)
	checkOrder(t, p, bought)

	// The worst moment: an acknowledged order, and nobody has time for anything.
	bought, err = (&shop{Client: p.http(t)}).buy()
	if err != nil {
		t.Fatal(err)
	}
	left := p.traces()
	p.kill()
	if err := poll(10*time.Second, left.alive); err != nil {
		t.Fatalf("after kill -9: %v", err)
	}

	l.args = nil
	p = start(t, l)
	p.mustReady(t)
	p.answers(t)
	checkOrder(t, p, bought)

	left = p.traces()
	if len(left.cgroups) == 0 {
		t.Error("the pods have no cgroups")
	}
	if err := p.interrupt(); err != nil {
		t.Errorf("after Ctrl-C it ended with %v", err)
	}
	if err := left.gone(10 * time.Second); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if err := l.on.empty(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if s := p.state(t); s.State != "stopped" {
		t.Errorf("the state file says %q", s.State)
	}
}

// answers waits until the whole shop answers.
func (p *platform) answers(t *testing.T) {
	t.Helper()
	s := shop{Client: p.http(t)}
	begun := time.Now()
	eventually(t, deployLimit, "the shop answers", s.open)
	t.Logf("the shop answers after %s", time.Since(begun).Round(time.Millisecond))
}

// checkOrder says what became of an order that was acknowledged.
func checkOrder(t *testing.T, p *platform, want order) {
	t.Helper()
	s := shop{Client: p.http(t)}
	eventually(t, time.Minute, "the order is shipped", func() error {
		got, err := s.order(want.ID)
		if err == nil && (got.State != "shipped" || got.Total != want.Total) {
			err = fmt.Errorf("it is %+v, was %+v", got, want)
		}
		return err
	})
}

// killNode ends a node with -9 and waits until the node and all its pods are there again.
func killNode(t *testing.T, p *platform, name string) {
	t.Helper()
	c := p.kube(t)
	before, err := p.node(name)
	if err != nil {
		t.Fatal(err)
	}
	below := traces{processes: descendants(before.pid)}
	if len(below.processes) < 3 {
		t.Fatalf("node %q has %d processes: want the shop's pods among them", name, len(below.processes))
	}
	killed := time.Now()
	if err := syscall.Kill(before.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := poll(5*time.Second, below.alive); err != nil {
		t.Errorf("after node %q was killed: %v", name, err)
	}
	eventually(t, time.Minute, "the node has a new process", func() error {
		now, err := p.node(name)
		if err == nil && now == before {
			err = errors.New("it is the old one")
		}
		return err
	})
	eventually(t, deployLimit, "the node is ready and its pods run again", func() error {
		n, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
		if err != nil {
			return err
		}
		return since(*n, pods.Items, killed.Truncate(time.Second))
	})
}

// since says what is missing for a node to have been ready, and its pods to have been started, after a time.
func since(n corev1.Node, pods []corev1.Pod, after time.Time) error {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && (c.Status != corev1.ConditionTrue || c.LastHeartbeatTime.Time.Before(after)) {
			return fmt.Errorf("node %q: %+v", n.Name, c)
		}
	}
	if len(pods) == 0 {
		return fmt.Errorf("node %q has no pods", n.Name)
	}
	for _, p := range pods {
		if missing := notReady(&p); missing != "" {
			return fmt.Errorf("pod %q: %s", p.Name, missing)
		}
		if r := p.Status.ContainerStatuses[0].State.Running; r == nil || r.StartedAt.Time.Before(after) {
			return fmt.Errorf("pod %q has not been started again", p.Name)
		}
	}
	return nil
}

// empty says what is in the network beside the loopback interface it began with.
func (n *isolated) empty() error {
	return n.do(func() error {
		var left []error
		links, err := netlink.LinkList()
		left = append(left, err)
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				left = append(left, fmt.Errorf("interface %q is still there", l.Attrs().Name))
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(lo, netlink.FAMILY_V4)
		left = append(left, err)
		if len(addresses) > 1 {
			left = append(left, fmt.Errorf("the loopback interface has the addresses %v", addresses))
		}
		tables, err := exec.Command("nft", "list", "tables").CombinedOutput()
		left = append(left, err)
		if text := strings.TrimSpace(string(tables)); text != "" {
			left = append(left, fmt.Errorf("tables of nftables are still there: %s", text))
		}
		return errors.Join(left...)
	})
}
