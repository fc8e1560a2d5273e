package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/escale-dev/escale/internal/engine/node"
	"github.com/escale-dev/escale/internal/engine/runtime/process"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/live"
	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
)

// setupSignals gathers signals. The metrics APIs answer at the platform's own address, on a free port.
func (p *Platform) setupSignals(ctx context.Context, m ctrl.Manager, kube kubernetes.Interface, log *slog.Logger) (*signal.Store, error) {
	metrics, err := net.Listen("tcp", net.JoinHostPort(p.network.Host().String(), "0"))
	if err != nil {
		return nil, fmt.Errorf("opening a port for the metrics APIs: %w", err)
	}
	return live.Setup(ctx, live.Deps{
		Manager: m, Kube: kube, Groups: p.containerGroups, Recording: p.cfg.Dir.Signals(), Metrics: metrics, Log: log,
	})
}

// containerGroups is where the cgroup of a container may be: below its node's where it is a process of this machine, and
// where containerd puts containers of Kubernetes otherwise.
func (p *Platform) containerGroups(name string, c topology.Container) []string {
	return []string{
		filepath.Join(process.CgroupOf(name, node.ProcessDir(p.cfg.Dir.Node(name))), c.ID),
		filepath.Join("k8s.io", c.ID),
	}
}
