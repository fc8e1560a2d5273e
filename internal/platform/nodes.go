package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/node"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// waitNodes returns when every node the platform began with is Ready.
func (p *Platform) waitNodes(ctx context.Context) error {
	select {
	case err := <-p.nodesReady:
		return err
	case err := <-p.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// names is the set of the nodes' names.
func names(nodes []engine.NodeConfig) map[string]bool {
	set := map[string]bool{}
	for _, n := range nodes {
		set[n.Name] = true
	}
	return set
}

// watchNodes returns when none of the named nodes is missing.
func (p *Platform) watchNodes(ctx context.Context, missing map[string]bool) error {
	c, err := kubernetes.NewForConfig(p.control.Admin())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	for len(missing) > 0 {
		// A watch without a version begins with what exists.
		w, err := c.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("watching nodes: %w", err)
		}
		for open := true; open && len(missing) > 0; {
			select {
			case e, ok := <-w.ResultChan():
				open = ok
				// A node that was ready before the platform stopped still says so until its new kubelet has spoken.
				if n, isNode := e.Object.(*corev1.Node); isNode && nodeReady(n, p.state.StartedAt) {
					delete(missing, n.Name)
				}
			case <-ctx.Done():
				w.Stop()
				return fmt.Errorf("waiting for nodes %s: %w", strings.Join(sorted(missing), ", "), ctx.Err())
			}
		}
		w.Stop()
	}
	return nil
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// nodeReady says whether the node's kubelet has reported it ready since the given time.
func nodeReady(n *corev1.Node, since time.Time) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue && !c.LastHeartbeatTime.Time.Before(since.Truncate(time.Second))
		}
	}
	return false
}

// AddNode starts one more node. An empty name, zone or size takes the next in order and an equal share of the machine.
func (p *Platform) AddNode(ctx context.Context, want engine.NodeConfig) (engine.NodeConfig, error) {
	have, err := node.Saved(p.cfg.Dir)
	if err != nil {
		return engine.NodeConfig{}, err
	}
	planned, err := node.Plan(p.network, have, 1)
	if err != nil {
		return engine.NodeConfig{}, err
	}
	n := planned[0]
	n.CPUMillis, n.MemoryBytes = want.CPUMillis, want.MemoryBytes
	if want.Zone != "" {
		n.Zone = want.Zone
	}
	if want.Name != "" {
		n.Name = want.Name
	}
	if slices.ContainsFunc(have, func(h engine.NodeConfig) bool { return h.Name == n.Name }) {
		return engine.NodeConfig{}, fmt.Errorf("node %q exists: choose another name", n.Name)
	}
	if err := p.startNode(ctx, n); err != nil {
		return engine.NodeConfig{}, err
	}
	p.nodeEvent(n.Name, "added", "asked for on the command line")
	return n, p.watchNodes(ctx, map[string]bool{n.Name: true})
}

// RemoveNode stops a node for good and deletes its Node object; its pods move to other nodes.
func (p *Platform) RemoveNode(ctx context.Context, name string) error {
	have, err := node.Saved(p.cfg.Dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(have, func(h engine.NodeConfig) bool { return h.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no node %q: `escale node list` shows those that exist", name)
	}
	if len(have) == 1 {
		return errors.New("this is the last node: without one no pod can run; add another first")
	}
	if err := p.nodes.Remove(name); err != nil {
		return err
	}
	addr, err := parseAddr(have[i].Address)
	if err != nil {
		return fmt.Errorf("node %q: %w", name, err)
	}
	if err := p.host.RemoveNode(addr); err != nil {
		return fmt.Errorf("node %q: %w", name, err)
	}
	c, err := kubernetes.NewForConfig(p.control.Admin())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := c.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting node %q: %w", name, err)
	}
	p.nodeEvent(name, "removed", "asked for on the command line")
	return nil
}
