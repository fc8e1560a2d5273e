package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/escale-dev/escale/internal/doctor"
	"github.com/escale-dev/escale/internal/engine/network"
	"github.com/spf13/cobra"
)

// doctorSchema names the form of what `escale doctor -o json` prints.
const doctorSchema = "escale.dev/doctor/v1"

func doctorCommand(e *env) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can run the platform",
		Long: `Check whether this machine can run the platform: the kernel, privileges, programs, ports, disk, addresses and other
firewalls. It changes nothing. What is not in order comes with the next step; the exit code is 1 where something is
missing that the platform cannot do without.`,
		Example: `  escale doctor

  # What to do, for a script
  escale doctor -o json | jq -r '.checks[] | select(.level == "failed") | .next'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir := e.target.dir()
			findings := doctor.Judge(doctor.Gather(c.Context(), doctor.Options{
				Dir: dir, Platform: e.platformHealth(c.Context()), Conflict: network.CheckConflict,
			}))
			answer := struct {
				Schema string           `json:"schema"`
				OK     bool             `json:"ok"`
				Checks []doctor.Finding `json:"checks"`
			}{doctorSchema, doctor.Healthy(findings), findings}
			if err := f.write(e.out, answer, func(bool) { printFindings(e.out, e.paint(e.out), findings) }); err != nil {
				return err
			}
			if !answer.OK {
				return exit(codeFailed)
			}
			return nil
		},
	}
	f.bind(c, "json", "yaml")
	return c
}

// platformHealth asks the platform of the data directory whether it answers.
func (e *env) platformHealth(ctx context.Context) doctor.Platform {
	dir := e.target.dir()
	state, err := dir.ReadState()
	if err != nil {
		return doctor.Platform{}
	}
	p := doctor.Platform{State: platformState(state), Problem: state.Message}
	if p.State != "ready" {
		return p
	}
	c, err := e.dial(place{files: []string{dir.Kubeconfig()}, dir: dir})
	if err == nil {
		err = c.ping(ctx)
	}
	if err != nil {
		p.Problem = err.Error()
	}
	return p
}

func printFindings(w io.Writer, p paint, findings []doctor.Finding) {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Name))
	}
	for _, f := range findings {
		sign := map[doctor.Level]string{
			doctor.OK: p.green("✓ ok     "), doctor.Warning: p.yellow("! warning"), doctor.Failed: p.red("✗ failed "),
		}[f.Level]
		fmt.Fprintf(w, "%s  %-*s  %s\n", sign, width, f.Name, clean(f.Message))
		if f.Next != "" {
			fmt.Fprintf(w, "%*s  next: %s\n", width+11, "", f.Next)
		}
	}
}
