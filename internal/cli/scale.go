package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/spf13/cobra"
)

func scaleCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "scale",
		Short: "Explain, replay and advise on scaling",
		Long: `Explain how many pods a workload has and why, show where the time of its scale-ups went, replay recorded signals with
other settings, say what could be saved, and show office hours.`,
		Example: `  # Why has it so many pods, and how long did the last scale-ups take?
  escale scale explain storefront

  # What would another target have done yesterday?
  escale scale replay yesterday.signals --set target=20`,
	}
	c.AddCommand(explainCommand(e), adviseCommand(e), replayCommand(e), exportCommand(e), hoursCommand(e))
	return c
}

// kinds are the short names of kinds of workloads.
var workloadKinds = map[string]string{
	"app": "Deployment", "deployment": "Deployment", "deploy": "Deployment", "statefulset": "StatefulSet", "sts": "StatefulSet",
	"scaledjob": "ScaledJob", "sj": "ScaledJob",
}

// parseWorkload reads "storefront" or "statefulset/db"; an App's pods are those of its Deployment.
func parseWorkload(arg, namespace string) (signal.Workload, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		kind, name = "app", arg
	}
	full := workloadKinds[strings.ToLower(kind)]
	if full == "" || name == "" || strings.Contains(name, "/") {
		return signal.Workload{}, fmt.Errorf("%q is no workload: want the name of an App, or KIND/NAME with deployment, statefulset or scaledjob", arg)
	}
	return signal.Workload{Kind: full, Namespace: namespace, Name: name}, nil
}

// shortly is a duration in the two largest units that it has.
func shortly(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}
