package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/version"
)

// versionSchema names the form of what `escale version -o json` prints.
const versionSchema = "escale.dev/version/v1"

// versions is the answer of `escale version -o json`.
type versions struct {
	Schema string        `json:"schema"`
	Client clientVersion `json:"client"`
	// Server is absent where none answers.
	Server *serverVersion `json:"server,omitempty"`
}

type clientVersion struct {
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	Machine    string `json:"machine"`
}

type serverVersion struct {
	// Version of the platform; empty for a cluster that is not one of this machine.
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	Server     string `json:"server"`
}

func versionCommand(e *env) *cobra.Command {
	var f format
	var clientOnly bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the cluster",
		Example: `  # Both
  escale version

  # For a script
  escale version --client -o json | jq -r .client.version`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v := versions{Schema: versionSchema, Client: clientVersion{
				Version: e.version, Kubernetes: version.Get().GitVersion, Go: runtime.Version(),
				Machine: runtime.GOOS + "/" + runtime.GOARCH,
			}}
			var missing error
			if !clientOnly {
				v.Server, missing = e.serverVersion(c.Context())
			}
			return f.write(e.out, v, func(bool) {
				fmt.Fprintf(e.out, "escale      %s (%s, %s)\n", v.Client.Version, v.Client.Go, v.Client.Machine)
				fmt.Fprintf(e.out, "kubernetes  %s\n", v.Client.Kubernetes)
				switch {
				case v.Server != nil:
					fmt.Fprintf(e.out, "server      %s at %s\n", v.Server.Kubernetes, v.Server.Server)
				case missing != nil:
					fmt.Fprintf(e.out, "server      none: %s\n", missing)
				}
			})
		},
	}
	f.bind(c, "json", "yaml")
	c.Flags().BoolVar(&clientOnly, "client", false, "ask no cluster")
	return c
}

func (e *env) serverVersion(ctx context.Context) (*serverVersion, error) {
	c, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	var v *apiversion.Info
	if v, err = c.clientset.Discovery().ServerVersion(); err != nil {
		return nil, fmt.Errorf("asking the cluster for its version: %w", err)
	}
	s := &serverVersion{Kubernetes: v.GitVersion, Server: c.server}
	if c.dir != "" {
		state, err := c.dir.ReadState()
		if err != nil {
			return nil, err
		}
		s.Version = state.Version
	}
	return s, nil
}
