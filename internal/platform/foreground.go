package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/build"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/release"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
	cfg, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	var urls []string
	for _, path := range f.files {
		begun := time.Now()
		results, err := f.deploy(ctx, s, cfg, path)
		if err != nil {
			// The platform is up and worth keeping: what failed can be mended and deployed again.
			f.report(path, results, err)
			continue
		}
		f.progress.Done(path+" answers", time.Since(begun))
		urls = append(urls, shown(results)...)
	}
	f.summary(s, urls)
	if !f.progress.terminal {
		return nil
	}
	return f.keepStatus(ctx, cfg)
}

func (f foreground) deploy(ctx context.Context, s engine.State, cfg *rest.Config, path string) ([]release.Result, error) {
	file, err := release.Load(path)
	if err != nil {
		return nil, err
	}
	return release.Deploy(ctx, release.DeployOptions{
		File: file, Config: cfg, GatewayURL: s.GatewayURL, Timeout: f.options.timeout,
		Builder:  &build.Builder{Registry: s.Registry, Progress: func(app, step string) { f.progress.Waiting(app + ": " + step) }},
		Progress: f.event,
	})
}

// event turns a step of the deployment into what is shown.
func (f foreground) event(e release.Event) {
	switch {
	case e.Kind != "" || e.Step == release.StepFailed:
	case e.Step == release.StepServing:
		f.progress.Line(fmt.Sprintf("    %s serves, %d/%d ready", e.Name, e.Ready, e.Desired))
	case e.Message != "":
		f.progress.Waiting(e.Name + ": " + e.Message)
	default:
		f.progress.Waiting(e.Name + ": " + string(e.Step))
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

// watchAgain is the pause before a watch that ended is begun again: the API server ends each now and then.
const watchAgain = time.Second

// keepStatus shows how many Apps are ready, as a watch tells, until ctx ends.
func (f foreground) keepStatus(ctx context.Context, cfg *rest.Config) error {
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	f.showStatus(nil)
	for {
		// What cannot be watched for a moment is no reason to stop the platform.
		if w, err := c.Watch(ctx, &v1alpha1.AppList{}); err == nil {
			f.follow(w)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
}

// follow shows what a watch tells until it ends. A watch without a version begins with what exists.
func (f foreground) follow(w watch.Interface) {
	defer w.Stop()
	ready := map[types.NamespacedName]bool{}
	for e := range w.ResultChan() {
		app, ok := e.Object.(*v1alpha1.App)
		if !ok {
			return
		}
		key := client.ObjectKeyFromObject(app)
		ready[key] = meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady)
		if e.Type == watch.Deleted {
			delete(ready, key)
		}
		f.showStatus(ready)
	}
}

func (f foreground) showStatus(ready map[types.NamespacedName]bool) {
	n := 0
	for _, ok := range ready {
		if ok {
			n++
		}
	}
	f.progress.Status(fmt.Sprintf("running · %d of %d apps ready · Ctrl-C stops the platform and everything on it", n, len(ready)))
}
