package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/escale-dev/escale/internal/scale/hours"
	"github.com/spf13/cobra"
)

// hoursSchema names the form of what `escale scale hours -o json` prints.
const hoursSchema = "escale.dev/hours/v1"

// hoursAnswer is the answer of `escale scale hours`.
type hoursAnswer struct {
	Schema    string      `json:"schema"`
	Workloads []hours.Row `json:"workloads"`
	Total     hours.Saved `json:"total"`
}

func hoursCommand(e *env) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use:   "hours",
		Short: "Show office hours: what is down until when, and what that saved",
		Long: `Show the workloads that office hours are kept for, of all namespaces or of the one named with -n: whether they are up
or down, why, until when, and the reservations that were saved. The annotations of kube-downscaler set them; see
docs/office-hours.md.`,
		Example: `  # A namespace that is down outside of working hours
  kubectl annotate namespace staging downscaler/uptime='Mon-Fri 07:30-20:30 Europe/Berlin'
  escale scale hours

  # CPU-hours saved, for a script
  escale scale hours -o json | jq .total.cpuHours`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := e.connect(c.Context())
			if err != nil {
				return err
			}
			now := time.Now()
			rows, err := hours.List(c.Context(), cl.client, e.target.namespace, now)
			if err != nil {
				return err
			}
			a := hoursAnswer{Schema: hoursSchema, Workloads: rows}
			for _, r := range rows {
				a.Total.CPUHours += r.CPUHours
				a.Total.MemoryGiBHours += r.MemoryGiBHours
			}
			return f.write(e.out, a, func(bool) { a.print(e.out, e.paint(e.out), now) })
		},
	}
	f.bind(c, "json", "yaml")
	return c
}

func (a hoursAnswer) print(w io.Writer, p paint, now time.Time) {
	if len(a.Workloads) == 0 {
		fmt.Fprintln(w, "No office hours are kept. An annotation sets them, such as")
		fmt.Fprintln(w, "  kubectl annotate namespace NAME downscaler/uptime='Mon-Fri 07:30-20:30 Europe/Berlin'")
		return
	}
	t := table{header: []string{"NAMESPACE", "WORKLOAD", "NOW", "UNTIL", "SAVED", "WHY"}}
	for _, r := range a.Workloads {
		if r.LeftTo != "" && !r.Down {
			continue // the object that it is left to has a line of its own
		}
		t.add(r.Namespace, r.Kind+"/"+r.Name, hoursNow(r, p), hoursUntil(r, now), savedText(r.Saved), clean(hoursWhy(r)))
	}
	t.write(w)
	fmt.Fprintf(w, "\nsaved reservations of %s in all\n", savedText(a.Total))
}

func hoursNow(r hours.Row, p paint) string {
	switch {
	case r.Error != "":
		return p.red("not read")
	case r.Down:
		return p.yellow("down")
	}
	return p.green("up")
}

func hoursWhy(r hours.Row) string {
	switch {
	case r.Error != "":
		return r.Error
	}
	return r.Why
}

// hoursUntil is the moment as this machine's clock shows it.
func hoursUntil(r hours.Row, now time.Time) string {
	if r.Until == nil {
		return "-"
	}
	layout := "Mon 15:04"
	if r.Until.Sub(now) > 6*24*time.Hour {
		layout = "2006-01-02 15:04"
	}
	return r.Until.Local().Format(layout)
}

func savedText(s hours.Saved) string {
	if s == (hours.Saved{}) {
		return "-"
	}
	return fmt.Sprintf("%.1f CPU-h, %.1f GiB-h", s.CPUHours, s.MemoryGiBHours)
}
