package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func kubeconfigCommand(e *env) *cobra.Command {
	var raw bool
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the platform's kubeconfig",
		Long: `Print the path of the kubeconfig of this machine's platform, for kubectl, helm and every other client of Kubernetes.
It is the administrator's: who has it may do everything.`,
		Example: `  # Use kubectl with the platform
  export KUBECONFIG=$(escale kubeconfig)
  kubectl get pods -A

  # Its content
  escale kubeconfig --raw`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			path := e.target.dir().Kubeconfig()
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return withNext(fmt.Errorf("no platform has been started in %q", e.target.dir()), "start one with `escale up`")
			}
			if err != nil {
				return withNext(fmt.Errorf("the kubeconfig cannot be read: %w", err), "run the command as the user who runs the platform")
			}
			if raw {
				_, err = e.out.Write(b)
				return err
			}
			_, err = fmt.Fprintln(e.out, path)
			return err
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "print the content instead of the path")
	return c
}
