package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/build"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/release"
	"k8s.io/client-go/tools/clientcmd"
)

// foreground is what `escale up` shows once the platform is ready.
type foreground struct {
	options  upOptions
	files    []string
	progress *Progress
	stdout   io.Writer
}

// ready deploys the files named on the command line, prints where everything is and keeps the status line.
func (f foreground) ready(ctx context.Context, s engine.State) error {
	var urls []string
	for _, path := range f.files {
		begun := time.Now()
		results, err := f.deploy(ctx, s, path)
		if err != nil {
			// The platform is up and worth keeping: what failed can be mended and deployed again.
			f.report(path, results, err)
			continue
		}
		f.progress.Done("deploy "+path, time.Since(begun))
		urls = append(urls, shown(results)...)
	}
	f.summary(s, urls)
	f.progress.Status("running · Ctrl-C stops the platform and everything on it")
	return nil
}

func (f foreground) deploy(ctx context.Context, s engine.State, path string) ([]release.Result, error) {
	file, err := release.Load(path)
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	return release.Deploy(ctx, release.DeployOptions{
		File: file, Config: cfg, GatewayURL: s.GatewayURL, Timeout: f.options.timeout,
		Builder:  &build.Builder{Registry: s.Registry, Progress: func(app, step string) { f.progress.Waiting(app + ": " + step) }},
		Progress: f.event,
	})
}

// event turns a step of the deployment into what is shown.
func (f foreground) event(e release.Event) {
	if e.Kind != "" {
		return
	}
	switch e.Step {
	case release.StepServing:
		f.progress.Done("  "+e.Name+" answers", time.Since(e.Since))
	case release.StepFailed:
	default:
		what := e.Name + ": " + string(e.Step)
		if e.Message != "" {
			what = e.Name + ": " + e.Message
		}
		f.progress.Waiting(what)
	}
}

// report says why a deployment failed, with the last lines of the pods that did.
func (f foreground) report(path string, results []release.Result, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	f.progress.Line(fmt.Sprintf("\n%s was not deployed: %v", path, err))
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		f.progress.Line(fmt.Sprintf("  %s: %s", r.Name, r.Message))
		for _, line := range r.Log {
			f.progress.Line("    " + r.Pod + ": " + line)
		}
	}
	f.progress.Line("The platform keeps running. Mend it and run: escale deploy " + path + "\n")
}

// shown are the addresses worth showing: those of Apps that own a whole host.
func shown(results []release.Result) []string {
	var urls []string
	for _, r := range results {
		if strings.HasSuffix(r.URL, "/") && strings.Count(r.URL, "/") == 3 {
			urls = append(urls, r.URL)
		}
	}
	return urls
}

// summary prints where everything is. This is the answer of the command, so it goes to standard output.
func (f foreground) summary(s engine.State, urls []string) {
	f.progress.Status("")
	f.progress.Line("")
	for _, u := range urls {
		fmt.Fprintf(f.stdout, "  app         %s\n", u)
	}
	fmt.Fprintf(f.stdout, "  portal      %s\n", s.PortalURL)
	fmt.Fprintf(f.stdout, "  kubeconfig  %s\n", s.Kubeconfig)
	if s.Isolation == IsolationPrivate {
		fmt.Fprintln(f.stdout, "\n  The platform has a network of its own: pods reach each other, and nothing outside.")
	}
	fmt.Fprintf(f.stdout, "\n  next: export KUBECONFIG=%s && kubectl get pods -A\n\n", s.Kubeconfig)
}
