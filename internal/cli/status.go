package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// statusOptions are the flags of `escale status`.
type statusOptions struct {
	format  format
	wait    bool
	timeout time.Duration
	apps    []string
}

func statusCommand(e *env) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "status [APP ...]",
		Short: "Show the platform, its nodes and the applications",
		Long: `Show the platform, its nodes and the applications of all namespaces, or of the one named with -n.

The exit code is 0 when everything shown is ready and 3 when something is not. docs/status.md describes the fields of
-o json, which scripts may rely on.`,
		Example: `  # Everything
  escale status

  # Wait until everything is ready, at most two minutes
  escale status --wait --timeout 2m

  # The URL of one application, for a script
  escale status shop -o json | jq -r '.apps[0].url'`,
		ValidArgsFunction: e.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			o.apps = args
			return e.status(c.Context(), o)
		},
	}
	o.format.bind(c, "json", "yaml", "wide")
	c.Flags().BoolVar(&o.wait, "wait", false, "wait until everything shown is ready")
	c.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long --wait waits")
	return c
}

func (e *env) status(ctx context.Context, o statusOptions) error {
	var s status
	var err error
	if o.wait {
		s, err = e.waitStatus(ctx, o)
	} else {
		s, err = e.gatherStatus(ctx, o.apps)
	}
	if err != nil {
		return err
	}
	err = o.format.write(e.out, s, func(wide bool) { s.print(e.out, e.paint(e.out), wide, time.Now()) })
	if err != nil {
		return err
	}
	if unready := s.unready(); unready != "" {
		if o.wait {
			fmt.Fprintf(e.err, "not ready after %s: %s\n", o.timeout, unready)
		}
		return exit(codeNotReady)
	}
	return nil
}

// waitStatus gathers the status again at every change until all is ready or the time is over.
func (e *env) waitStatus(ctx context.Context, o statusOptions) (status, error) {
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	changes := e.watchChanges(limited)
	b := e.newBoard()
	defer b.close()
	for {
		s, err := e.gatherStatus(ctx, o.apps)
		ready := err == nil && s.unready() == ""
		if ready || isFinal(err) || limited.Err() != nil {
			return s, cmp.Or(err, ctx.Err())
		}
		text := s.unready()
		if err != nil {
			text = err.Error()
		}
		b.set("status", "waiting: "+text, working)
		select {
		case <-changes:
		case <-limited.Done(): // look once more
		}
	}
}

// print writes the status for people.
func (s status) print(w io.Writer, p paint, wide bool, now time.Time) {
	s.Platform.print(w, p, now)
	if len(s.Nodes) > 0 {
		fmt.Fprintln(w)
		nodeTable(s.Nodes, p, wide).write(w)
	}
	if len(s.Apps) > 0 {
		fmt.Fprintln(w)
		appTable(s.Apps, p, wide).write(w)
	}
	if len(s.Nodes) > 0 && len(s.Apps) == 0 {
		fmt.Fprintf(w, "\nNo application is deployed yet: `escale deploy` deploys the one in ./escale.yaml.\n")
	}
}

func (s platformStatus) print(w io.Writer, p paint, now time.Time) {
	state := p.yellow(s.State)
	switch s.State {
	case "ready":
		state = p.green(s.State)
	case "failed", "stopped", "absent":
		state = p.red(s.State)
	}
	facts := []string{state}
	if s.Version != "" {
		facts = append(facts, "version "+s.Version)
	}
	if s.running() && !s.StartedAt.IsZero() {
		facts = append(facts, "for "+age(now.Sub(*s.StartedAt)), "network "+s.Isolation)
	}
	fmt.Fprintf(w, "%s  %s\n", p.bold("Platform"), strings.Join(facts, ", "))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-11s %s\n", name, value)
		}
	}
	if s.Message != "" {
		fmt.Fprintf(w, "  %s\n", clean(s.Message))
	}
	if s.running() {
		line("gateway", s.GatewayURL)
		line("portal", s.PortalURL)
		line("registry", s.Registry)
	}
	line("kubeconfig", s.Kubeconfig)
	var stages []string
	for _, stage := range s.Stages {
		stages = append(stages, fmt.Sprintf("%s %.1f s", stage.Name, stage.Seconds))
	}
	line("start", strings.Join(stages, ", "))
}

func nodeTable(nodes []nodeStatus, p paint, wide bool) *table {
	t := &table{header: []string{"NODE", "ZONE", "READY", "PODS", "CPU", "MEMORY"}}
	if wide {
		t.header = append(t.header, "ADDRESS", "VERSION")
	}
	for _, n := range nodes {
		cells := []string{n.Name, n.Zone, n.readyWord(p), fmt.Sprint(n.Pods),
			fmt.Sprintf("%s of %s", cores(n.CPUReserved), cores(n.CPUAllocatable)),
			fmt.Sprintf("%s of %s", size(n.MemoryReserved), size(n.MemoryAllocatable))}
		if wide {
			cells = append(cells, n.Address, n.Version)
		}
		t.add(cells...)
	}
	return t
}

func (n nodeStatus) readyWord(p paint) string {
	word := yesNo(n.Ready, p)
	if n.Cordoned {
		word += ", cordoned"
	}
	return word
}

func appTable(apps []appStatus, p paint, wide bool) *table {
	t := &table{header: []string{"APP", "NAMESPACE", "READY", "PODS", "REVISION", "URL"}}
	troubled := wide || slices.ContainsFunc(apps, func(a appStatus) bool { return !a.Ready })
	if troubled {
		t.header = append(t.header, "MESSAGE")
	}
	for _, a := range apps {
		cells := []string{a.Name, a.Namespace, yesNo(a.Ready, p), fmt.Sprintf("%d of %d", a.Observed, a.Desired), a.Revision, a.URL}
		if troubled {
			message := clean(a.Message)
			if a.Ready && !wide {
				message = ""
			}
			cells = append(cells, message)
		}
		t.add(cells...)
	}
	return t
}

func yesNo(yes bool, p paint) string {
	if yes {
		return p.green("yes")
	}
	return p.red("no")
}

// cores shows millicores as cores.
func cores(millis int64) string { return fmt.Sprintf("%.2f", float64(millis)/1000) }

// size shows bytes in the largest binary unit that keeps one digit before the point.
func size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// age shows a duration in its two largest units at most.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
