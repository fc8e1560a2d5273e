package alone

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/escale-dev/escale/internal/engine/memory"
	"github.com/escale-dev/escale/internal/traffic"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// options are the flags of `escale gateway`.
type options struct {
	kubeconfig, health, namespace string
	address                       net.IP
	drain, hold                   time.Duration
}

// Command is `escale gateway`.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Run the gateway alone, for any Kubernetes cluster",
		Long: `Run the gateway alone: it serves the Gateways of class "escale" (controller escale.dev/gateway) and their routes of a
Kubernetes cluster, as the platform's gateway does, at every port that a listener names. As a pod it uses its service
account, elsewhere name a cluster with --kubeconfig. Several of them serve the same routes; one at a time writes statuses.`,
		Example: `  # What to apply on another cluster
  escale gateway manifest --image registry.example.com/escale:1 | kubectl apply -f -

  # Beside a cluster
  escale gateway --kubeconfig ~/.kube/config`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.ErrOrStderr()) },
	}
	f := c.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "the cluster; without it, that of the pod this runs in")
	f.IPVar(&o.address, "address", nil, "address that Gateways publish in their status, such as that of a load balancer")
	f.StringVar(&o.health, "health", ":9090", "where /livez, /readyz and /metrics are served")
	f.StringVar(&o.namespace, "lease-namespace", "", "namespace of the lease of the process that writes statuses (default: the pod's)")
	f.DurationVar(&o.drain, "drain", 10*time.Second, "how long to take requests after being told to stop")
	f.DurationVar(&o.hold, "hold", traffic.DefaultHold, "how long a request waits for the first ready pod of its Service")
	c.AddCommand(manifestCommand())
	return c
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	if o.drain < 0 || o.hold <= 0 || o.hold > traffic.MaxHold {
		return fmt.Errorf("--drain %s, --hold %s: want at least 0 and more than 0, at most %s", o.drain, o.hold, traffic.MaxHold)
	}
	memory.Limit()
	log := slog.New(slog.NewTextHandler(out, nil))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	cluster, err := Cluster(o.kubeconfig)
	if err != nil {
		return err
	}
	health, err := net.Listen("tcp", o.health)
	if err != nil {
		return fmt.Errorf("--health: %w", err)
	}
	namespace := o.namespace
	if namespace == "" {
		namespace = ownNamespace()
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host's name: %w", err)
	}
	log.Info("gateway started", "health", health.Addr())
	return Run(ctx, Config{
		Cluster: cluster, Address: o.address, Health: health, Namespace: namespace, Name: fmt.Sprintf("%s-%d", host, os.Getpid()),
		Drain: o.drain, Hold: o.hold, Log: log,
	})
}
