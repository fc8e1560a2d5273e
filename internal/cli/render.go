package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func renderCommand(e *env) *cobra.Command {
	var f format
	var images map[string]string
	c := &cobra.Command{
		Use:   "render [FILE|FOLDER|-]",
		Short: "Print the Kubernetes objects that an application file stands for",
		Long: `Print the Kubernetes objects that an application file stands for. Applying them with kubectl gives the same
application, on any cluster. Nothing is sent anywhere.

A folder stands for the escale.yaml in it, - for standard input; without an argument it is the present folder. An App
with a source has no image until ` + "`escale deploy`" + ` builds it; --image names one instead.`,
		Example: `  # What would be deployed
  escale render

  # Leave Escale: the same application by kubectl
  escale render shop/escale.yaml --image web=ghcr.io/acme/web:1.4 | kubectl apply -f -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := e.load(append(args, ".")[0])
			if err != nil {
				return err
			}
			objects, err := renderFile(file, e.target.namespace, images)
			if err != nil {
				return err
			}
			return printObjects(e.out, objects, f)
		},
	}
	f.bind(c, "yaml", "json")
	c.Flags().StringToStringVar(&images, "image", nil, "image of an App with a source, as APP=IMAGE; may be repeated")
	return c
}

// load reads an application file; "-" is standard input.
func (e *env) load(path string) (release.File, error) {
	if path != "-" {
		f, err := release.Load(path)
		var mistake *release.LineError
		if err != nil && !errors.As(err, &mistake) {
			return f, withNext(err, "name a file that holds Apps, or a folder with an %s", release.FileName)
		}
		return f, err
	}
	b, err := io.ReadAll(io.LimitReader(e.in, maxInput))
	if err != nil {
		return release.File{}, fmt.Errorf("reading standard input: %w", err)
	}
	return release.Parse("standard input", b)
}

// maxInput is more than release.Parse takes, so that it is the one to refuse.
const maxInput = 64 << 20

// renderFile is every object of the file, Apps as what they render to.
func renderFile(file release.File, namespace string, images map[string]string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	used := 0
	for _, app := range file.Apps {
		if image, ok := images[app.Name]; ok {
			used++
			app = withImage(app, image)
		}
		objects, err := release.Render(app, release.RenderOptions{Namespace: namespace})
		if errors.Is(err, release.ErrNotBuilt) {
			return nil, withNext(err, "`escale deploy` builds it, or name an image: --image %s=IMAGE", app.Name)
		}
		if err != nil {
			return nil, withNext(err, "correct App %q in %s", app.Name, file.Path)
		}
		out = append(out, objects...)
	}
	if used < len(images) {
		return nil, &failure{err: fmt.Errorf("--image names an App that %s does not hold", file.Path), code: codeUsage,
			next: "it holds " + appNames(file.Apps)}
	}
	return append(out, file.Objects...), nil
}

// withImage is the App with the image that someone built from its source.
func withImage(app v1alpha1.App, image string) v1alpha1.App {
	if app.Spec.Source != nil {
		return release.Built(app, image, nil)
	}
	app.Spec.Image = image
	return app
}

func appNames(apps []v1alpha1.App) string {
	var names []string
	for _, a := range apps {
		names = append(names, fmt.Sprintf("%q", a.Name))
	}
	return cmp.Or(strings.Join(names, ", "), "no App")
}

// printObjects writes a stream of YAML documents, or one JSON List: what kubectl apply takes.
func printObjects(w io.Writer, objects []*unstructured.Unstructured, f format) error {
	if f == "json" {
		items := make([]any, 0, len(objects))
		for _, o := range objects {
			items = append(items, o.Object)
		}
		return f.write(w, map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, nil)
	}
	for _, o := range objects {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("encoding %s %q: %w", o.GetKind(), o.GetName(), err)
		}
		if _, err := fmt.Fprintf(w, "---\n%s", b); err != nil {
			return err
		}
	}
	return nil
}
