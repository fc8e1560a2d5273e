package alone

import (
	_ "embed"
	"fmt"
	"io"
	"text/template"

	"github.com/spf13/cobra"
)

// manifestText is what runs the gateway as a Deployment: objects of other kinds than the Gateway API's.
//
//go:embed manifest.yaml
var manifestText string

var manifestTemplate = template.Must(template.New("manifest").Parse(manifestText))

// manifestOptions are the flags of `escale gateway manifest`.
type manifestOptions struct {
	Image, Namespace string
	Replicas         int
}

func manifestCommand() *cobra.Command {
	var o manifestOptions
	c := &cobra.Command{
		Use:   "manifest",
		Short: "Print the objects that run the gateway on a cluster",
		Long: `Print the objects that run the gateway as a Deployment: its rights, which are those it uses and no others, a Service of
type LoadBalancer, a disruption budget and the GatewayClass "escale". The cluster must have the Gateway API's
definitions, and the image must have this program as its entrypoint.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.write(c.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.Image, "image", "", "image of this program (required)")
	f.StringVar(&o.Namespace, "namespace", "escale-gateway", "where it runs")
	f.IntVar(&o.Replicas, "replicas", 2, "how many pods")
	_ = c.MarkFlagRequired("image")
	return c
}

func (o *manifestOptions) write(w io.Writer) error {
	if err := manifestTemplate.Execute(w, o); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}
