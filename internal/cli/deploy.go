package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/build"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
)

// deploySchema names the form of what `escale deploy -o json` prints.
const deploySchema = "escale.dev/deploy/v1"

// deployOptions are the flags of `escale deploy`.
type deployOptions struct {
	format   format
	registry string
	timeout  time.Duration
}

func deployCommand(e *env) *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use:   "deploy [FILE|FOLDER|-]",
		Short: "Build and deploy an application, and wait until it answers",
		Long: `Build the sources of an application file, deploy it, and wait until the new revision of every App has answered a
request; an App that answers none has to keep running. Without an argument it is the escale.yaml of the present folder.

It ends with the URLs on standard output, or with the reason and the last log lines of the pod that failed.`,
		Example: `  # The application of the present folder
  escale deploy

  # Another one, on another cluster, with its images in another registry
  escale deploy shop --kubeconfig prod.yaml --registry ghcr.io/acme`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := e.load(append(args, ".")[0])
			if err != nil {
				return err
			}
			cl, err := e.connect(c.Context())
			if err != nil {
				return err
			}
			return e.deploy(c.Context(), cl, file, o)
		},
	}
	o.format.bind(c, "json", "yaml")
	c.Flags().StringVar(&o.registry, "registry", "", "registry for what is built, as HOST:PORT[/PREFIX] (default: the platform's own)")
	c.Flags().DurationVar(&o.timeout, "timeout", release.DefaultTimeout, "how long all Apps may take to answer")
	return c
}

// deploy deploys a file and reports what became of it.
func (e *env) deploy(ctx context.Context, c *cluster, file release.File, o deployOptions) error {
	opts := release.DeployOptions{File: file, Config: c.config, Namespace: c.namespace, Timeout: o.timeout}
	registry := o.registry
	if c.dir != "" {
		state, err := c.dir.ReadState()
		if err != nil {
			return err
		}
		opts.GatewayURL = state.GatewayURL
		if registry == "" {
			registry = state.Registry
		}
	}
	if registry == "" && hasSource(file) {
		return withNext(errors.New("the file has sources to build, and this cluster has no registry of its own"),
			"name a registry that it can pull from with --registry")
	}
	b := e.newBoard()
	opts.Progress = func(event release.Event) { b.set(eventRow(event)) }
	opts.Builder = &build.Builder{Registry: registry, Progress: func(app, step string) {
		b.set(app[strings.LastIndex(app, "/")+1:], step, working)
	}}
	results, err := release.Deploy(ctx, opts)
	b.close()
	return e.deployed(results, err, o.format)
}

func hasSource(file release.File) bool {
	for _, a := range file.Apps {
		if a.Spec.Source != nil {
			return true
		}
	}
	return false
}

// eventRow is the row of a board that tells of the event.
func eventRow(event release.Event) (name, text string, m mark) {
	name, text = event.Name, string(event.Step)
	if event.Kind != "" {
		return event.Kind + " " + event.Name, text, done
	}
	switch event.Step {
	case release.StepWaiting:
		text = event.Message
	case release.StepApplied:
		text = strings.TrimSpace("applied revision " + event.Revision)
	case release.StepChecking:
		text = "asking it"
	case release.StepServing:
		return name, strings.TrimSpace("serving revision " + event.Revision + " " + event.URL), done
	case release.StepFailed:
		return name, event.Message, broken
	}
	return name, text, working
}

// deployment is the answer of `escale deploy -o json`.
type deployment struct {
	Schema string      `json:"schema"`
	Apps   []deployApp `json:"apps"`
}

type deployApp struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Serving   bool     `json:"serving"`
	Revision  string   `json:"revision"`
	URL       string   `json:"url"`
	Ready     int32    `json:"ready"`
	Desired   int32    `json:"desired"`
	Seconds   float64  `json:"seconds"`
	Answer    string   `json:"answer"`
	Reason    string   `json:"reason"`
	Message   string   `json:"message"`
	Pod       string   `json:"pod"`
	Log       []string `json:"log"`
}

// deployed prints the answer: URLs for people, everything for programs. Failures go to standard error in any case.
func (e *env) deployed(results []release.Result, err error, f format) error {
	if err != nil && !errors.Is(err, release.ErrNotServing) {
		return err
	}
	answer := deployment{Schema: deploySchema, Apps: []deployApp{}}
	for _, r := range results {
		answer.Apps = append(answer.Apps, deployApp{
			Name: r.Name, Namespace: r.Namespace, Serving: r.Err == nil, Revision: r.Revision, URL: r.URL, Ready: r.Ready,
			Desired: r.Desired, Seconds: r.Took.Seconds(), Answer: r.Answer, Reason: r.Reason, Message: r.Message, Pod: r.Pod,
			Log: append([]string{}, r.Log...),
		})
	}
	if printed := f.write(e.out, answer, func(bool) {
		for _, url := range entrances(results) {
			fmt.Fprintln(e.out, url)
		}
	}); printed != nil {
		return printed
	}
	if err == nil {
		return nil
	}
	return e.notServing(results)
}

// entrances are the URLs of Apps that serve, less those below another: the paths of a host that has a front page.
func entrances(results []release.Result) []string {
	var urls []string
	for _, r := range results {
		if r.Err == nil && r.URL != "" {
			urls = append(urls, r.URL)
		}
	}
	slices.Sort(urls)
	urls = slices.Compact(urls)
	var out []string
	for _, u := range urls {
		if !slices.ContainsFunc(out, func(above string) bool { return strings.HasPrefix(u, strings.TrimSuffix(above, "/")+"/") }) {
			out = append(out, u)
		}
	}
	return out
}

// notServing tells why Apps do not serve, each with the last it said.
func (e *env) notServing(results []release.Result) error {
	var failed []release.Result
	for _, r := range results {
		if r.Err != nil {
			failed = append(failed, r)
		}
	}
	if len(failed) == 0 {
		return release.ErrNotServing
	}
	p := e.paint(e.err)
	for _, r := range failed {
		fmt.Fprintf(e.err, "\n%s %s\n", p.bold(fmt.Sprintf("App %q does not serve:", r.Name)), clean(why(r)))
		if len(r.Log) == 0 {
			continue
		}
		fmt.Fprintf(e.err, "the log of pod %q ends with\n", r.Pod)
		for _, line := range r.Log {
			fmt.Fprintf(e.err, "  %s %s\n", p.faint("|"), clean(line))
		}
	}
	fmt.Fprintln(e.err)
	first := failed[0]
	next := fmt.Sprintf("correct it and deploy again, or go back to the revision before, if there was one: `escale rollback %s -n %s`", first.Name, first.Namespace)
	if len(failed) == 1 {
		return withNext(fmt.Errorf("App %q does not serve", first.Name), "%s", next)
	}
	return withNext(fmt.Errorf("%d of %d Apps do not serve", len(failed), len(results)), "%s", next)
}

func why(r release.Result) string {
	if r.Message != "" {
		return r.Message
	}
	return r.Err.Error()
}
