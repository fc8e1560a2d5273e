package platform

import (
	"fmt"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/spf13/cobra"
)

// Commands are the commands that run the platform or a part of it in the calling process.
func Commands(version string) []*cobra.Command {
	return []*cobra.Command{controlPlaneCommand()}
}

// controlPlaneCommand runs a control plane alone. It is for tests and for people who study the engine, so the help
// does not list it.
func controlPlaneCommand() *cobra.Command {
	var dir string
	cfg := BareConfig{Network: engine.DefaultNetwork}
	c := &cobra.Command{
		Use:    "controlplane",
		Short:  "Run a control plane without nodes; prints its kubeconfig's path when it is ready",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Dir = engine.Dir(dir)
			cfg.Ready = func(kubeconfig string) { fmt.Fprintln(c.OutOrStdout(), kubeconfig) }
			return RunBare(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&dir, "data-dir", string(engine.DefaultDir()), "where the cluster's data is kept")
	c.Flags().IntVar(&cfg.Port, "api-port", 6443, "port of the API server on 127.0.0.1; 0 takes a free one")
	return c
}
