package platform

import (
	"context"
	"fmt"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/controlplane"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BareConfig is a control plane without nodes, network and capabilities.
type BareConfig struct {
	// Dir is the data directory.
	Dir engine.Dir
	// Network is the address plan's prefix.
	Network string
	// Port of the API server on 127.0.0.1; 0 takes a free one.
	Port int
	// Ready is called once, when the API server serves every definition, with the kubeconfig's path.
	Ready func(kubeconfig string)
}

// RunBare runs a control plane alone until ctx ends: what tests and clients that bring their own controllers need.
func RunBare(ctx context.Context, cfg BareConfig) error {
	network, err := engine.NewNetwork(cfg.Network)
	if err != nil {
		return err
	}
	log, closeDir, err := openDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer closeDir()
	listener, err := listen("127.0.0.1", cfg.Port, "--api-port")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cp, err := controlplane.Start(ctx, controlplane.Config{
		Dir: cfg.Dir, Network: network, Listener: listener, LogFile: logFile(cfg.Dir), Log: log,
		Stage: func(string, time.Duration) {},
	})
	if err != nil {
		return err
	}
	c, err := client.NewWithWatch(cp.Admin(), client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := applyDefinitions(ctx, c); err != nil {
		return err
	}
	cfg.Ready(cfg.Dir.Kubeconfig())
	return cp.Wait()
}
