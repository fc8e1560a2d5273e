package alone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/traffic"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Config is what a gateway that runs alone is told.
type Config struct {
	// Cluster is the API server; see Cluster.
	Cluster *rest.Config
	// Address is what Gateways publish in their status: where clients reach this gateway, such as its load balancer. Nil
	// for none.
	Address net.IP
	// Health serves /livez, /readyz and /metrics.
	Health net.Listener
	// Namespace holds the lease of the process that writes statuses, Name is what the lease says of this one.
	Namespace, Name string
	// Drain is how long requests are still taken after the end was asked for.
	Drain time.Duration
	// Hold is traffic.Deps.Hold.
	Hold time.Duration
	Log  *slog.Logger
}

// Cluster is the configuration for the API server of a kubeconfig, or, without one, of the cluster this process is a pod
// of.
func Cluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("reading kubeconfig %q: %w", kubeconfig, err)
		}
		return c, nil
	}
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("this is no pod of a cluster; name one with --kubeconfig: %w", err)
	}
	return c, nil
}

// namespaceFile is where a pod reads its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// ownNamespace is the namespace of the pod that this process is, or "default".
func ownNamespace() string {
	b, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "default"
	}
	return strings.TrimSpace(string(b))
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("naming the kinds: %w", err)
		}
	}
	return s, nil
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, c Config) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	cluster := rest.CopyConfig(c.Cluster)
	cluster.QPS = -1 // statuses come in bursts; the server limits fairly
	cluster.UserAgent = "escale-gateway"
	log := logr.FromSlogHandler(c.Log.Handler())
	m, err := ctrl.NewManager(cluster, manager.Options{
		Scheme: scheme, Logger: log,
		Cache:   cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: traffic.Cached()},
		Metrics: metricsserver.Options{BindAddress: "0"}, // served with the health
		// Names are unique in a process only by the controllers that tests start twice.
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	g, err := traffic.Setup(traffic.Deps{
		Manager: m, Listener: newNowhere(c.Address), Network: everywhere{}, Hold: c.Hold, Passive: true, Log: c.Log,
	})
	if err != nil {
		return err
	}
	return run(ctx, c, m, g)
}

// run runs the parts. The data plane goes on until the drain is over; the statuses stop at once, for another process to
// write them.
func run(ctx context.Context, c Config, m ctrl.Manager, g *traffic.Gateway) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	leading, resign := context.WithCancel(serving)
	defer resign()
	ended := make(chan error, 3)
	go func() { ended <- m.Start(serving) }()
	go func() { ended <- serveHealth(serving, c.Health, g) }()
	go func() { ended <- lead(leading, c, g) }()
	running := 3
	var errs []error
	select {
	case err := <-ended:
		running--
		errs = append(errs, err)
	case <-ctx.Done():
		c.Log.Info("draining", "for", c.Drain)
		g.Drain()
		resign()
		pause(serving, c.Drain)
	}
	stop()
	for range running {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
