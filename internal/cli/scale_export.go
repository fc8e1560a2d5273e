package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/spf13/cobra"
)

// exportOptions are the arguments of `escale scale export`.
type exportOptions struct {
	file     string
	workload string
	since    time.Duration
}

func exportCommand(e *env) *cobra.Command {
	o := exportOptions{}
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write what was recorded of a workload's signals into a file",
		Long: `Write what the platform of this machine recorded of a workload's signals, or of all, into a file that
"escale scale replay" reads, here or elsewhere. FILE must not exist; "-" is standard output.

Facts of the last minute may be missing: the platform writes them a minute at a time.`,
		Example: `  # What happened to the storefront in the last two hours?
  escale scale export storefront.signals --workload storefront -n shop --since 2h
  escale scale replay storefront.signals --present target=10 --set target=20`,
		Args: oneArg("a FILE to write"),
		RunE: func(c *cobra.Command, args []string) error {
			o.file = args[0]
			return e.exportSignals(c, o)
		},
	}
	c.Flags().StringVar(&o.workload, "workload", "", "write one workload only: NAME or KIND/NAME")
	c.Flags().DurationVar(&o.since, "since", 24*time.Hour, "how far to go back")
	return c
}

func (e *env) exportSignals(c *cobra.Command, o exportOptions) error {
	var only func(signal.Workload) bool
	if o.workload != "" {
		want, err := parseWorkload(o.workload, e.target.namespace)
		if err != nil {
			return usageError(c, err)
		}
		only = func(w signal.Workload) bool {
			return w.Name == want.Name && w.Kind == want.Kind && (want.Namespace == "" || w.Namespace == want.Namespace)
		}
	}
	dir := e.target.dir()
	if _, err := os.Stat(dir.Signals()); err != nil {
		return withNext(fmt.Errorf("opening the recording: %w", err), "start the platform, which records its signals, with `escale up`, or name its --data-dir")
	}
	out := e.out
	if o.file != "-" {
		f, err := os.OpenFile(o.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return withNext(fmt.Errorf("writing a recording: %w", err), "name a file that does not exist")
		}
		defer f.Close()
		out = f
	}
	facts, err := signal.Export(dir.Signals(), time.Now().Add(-o.since), only, out)
	if err == nil && facts == 0 {
		err = withNext(errors.New("the recording has no facts of such a workload in that time"),
			"leave out --workload to see what there is, or go back further with --since")
	}
	if err != nil {
		if o.file != "-" {
			_ = os.Remove(o.file)
		}
		return fmt.Errorf("exporting signals: %w", err)
	}
	if o.file != "-" {
		fmt.Fprintf(e.out, "%d facts in %s\n", facts, o.file)
	}
	return nil
}
