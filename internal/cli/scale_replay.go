package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/scale/replay"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/spf13/cobra"
)

// replaySchema names the form of what `escale scale replay -o json` prints.
const replaySchema = "escale.dev/replay/v1"

// replayOptions are the flags of `escale scale replay`.
type replayOptions struct {
	format   format
	file     string
	workload string
	metric   string
	present  string
	sets     []string
}

// replayAnswer is the answer of `escale scale replay`.
type replayAnswer struct {
	Schema    string           `json:"schema"`
	Workloads []replay.Result  `json:"workloads"`
	Total     []replay.Outcome `json:"total"`
	// TookSeconds is how long the replay took.
	TookSeconds float64 `json:"tookSeconds"`
}

func replayCommand(e *env) *cobra.Command {
	o := replayOptions{}
	c := &cobra.Command{
		Use:   "replay [FILE]",
		Short: "Run recorded signals through today's decision, with these settings and others",
		Long: `Run recorded signals through today's decision under virtual time, and print the pods, the demand that was not served
and the waste: for the present settings and for each --set.

FILE is what the platform recorded (without it, all that the platform of this machine has), or a table by hand: CSV with
a line of column names, or a JSON object a line. docs/replay.md has the columns, the settings and the model.

The present settings of a workload that the platform of this machine scales are those it is scaled by now, and its pods
take as long to start as in its last scale-ups. Others have defaults. --present changes both. With several settings in one
--set, put commas between them.`,
		Example: `  # Would a higher target have served yesterday?
  escale scale replay yesterday.signals --set target=20 --set target=20,max=50

  # Without a cluster: a table by hand, 10 requests in flight for each pod
  printf 'in-flight\n20\n20\n100\n100\n' >spike.csv
  escale scale replay spike.csv --present target=10 --set target=10,start=30s`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.file = append(args, "")[0]
			return e.replay(c, o)
		},
	}
	o.format.bind(c, "json", "yaml")
	c.Flags().StringArrayVar(&o.sets, "set", nil, "settings to compare with, such as target=20,max=50; may be repeated")
	c.Flags().StringVar(&o.present, "present", "", "changes to the present settings, such as target=10,start=2s")
	c.Flags().StringVar(&o.workload, "workload", "", "replay one workload only: NAME or KIND/NAME")
	c.Flags().StringVar(&o.metric, "metric", "in-flight", "what to scale by where no ScaledObject says it: in-flight, rate, cpu, memory, lag")
	return c
}

func (e *env) replay(c *cobra.Command, o replayOptions) error {
	recording, err := e.openRecording(o.file)
	if err != nil {
		return err
	}
	if err := recording.Check(); err != nil {
		return withNext(err, "docs/replay.md has the forms that are read")
	}
	choose, err := e.chooseSettings(c, o)
	if err != nil {
		return err
	}
	begun := time.Now()
	results, err := replay.Run(recording, choose)
	if err != nil {
		return withNext(err, "docs/replay.md has the forms that are read")
	}
	if len(results) == 0 {
		return withNext(fmt.Errorf("the recording has no facts of such a workload"), "name another with --workload, or leave it out")
	}
	a := replayAnswer{Schema: replaySchema, Workloads: results, Total: replay.Total(results), TookSeconds: time.Since(begun).Seconds()}
	return o.format.write(e.out, a, func(bool) { a.print(e.out, e.paint(e.out)) })
}

// openRecording opens a file, or what the platform of this machine recorded.
func (e *env) openRecording(file string) (replay.Recording, error) {
	if file != "" {
		return replay.Open(file)
	}
	dir := e.target.dir()
	r, err := replay.Open(dir.Signals())
	if err != nil {
		return r, withNext(err, "name a FILE, or start the platform, which records its signals, with `escale up`")
	}
	return r, nil
}

// chooseSettings reads the flags once, and tells the settings of each workload.
func (e *env) chooseSettings(c *cobra.Command, o replayOptions) (replay.Choose, error) {
	var only func(signal.Workload) bool
	if o.workload != "" {
		want, err := parseWorkload(o.workload, e.target.namespace)
		if err != nil {
			return nil, usageError(c, err)
		}
		only = func(w signal.Workload) bool {
			return w.Name == want.Name && (w.Kind == want.Kind || !strings.Contains(o.workload, "/")) && (want.Namespace == "" || w.Namespace == want.Namespace)
		}
	}
	present, err := e.presentSettings(c.Context(), o)
	if err != nil {
		return nil, err
	}
	byWorkload := map[signal.Workload][]replay.Settings{}
	for w, p := range present {
		if byWorkload[w], err = allSettings(p, o); err != nil {
			return nil, usageError(c, fmt.Errorf("%s: %w", w, err))
		}
	}
	others, err := allSettings(replay.Default(replay.Column(o.metric), 0), o)
	if err != nil && len(byWorkload) == 0 {
		return nil, usageError(c, err)
	}
	return func(w signal.Workload) []replay.Settings {
		if only != nil && !only(w) {
			return nil
		}
		if settings, ok := byWorkload[w]; ok {
			return settings
		}
		return others
	}, nil
}

// presentSettings asks the running platform what its workloads are scaled by. Where none runs, nothing is known.
func (e *env) presentSettings(ctx context.Context, o replayOptions) (map[signal.Workload]replay.Settings, error) {
	dir := e.target.place().dir
	if dir == "" {
		return nil, nil
	}
	var all []replay.Present
	err := control.NewClient(dir).View(ctx, replay.ViewName, nil, &all)
	if errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrNoView) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	records, err := timeline.Load(dir.Timeline())
	if err != nil {
		return nil, err
	}
	out := map[signal.Workload]replay.Settings{}
	for _, p := range all {
		if len(p.Settings.Metrics) == 0 {
			continue
		}
		if took, ok := startDelay(records, p.Workload); ok {
			p.Settings.StartDelay = took
		}
		if len(p.Left) > 0 {
			fmt.Fprintf(e.err, "note: %s is replayed without %s\n", p.Workload, strings.Join(p.Left, " and "))
		}
		out[p.Workload] = p.Settings
	}
	return out, nil
}

// startDelay is how long the pods of a workload took from the decision to routed, at the median of its scale-ups.
func startDelay(records []timeline.Record, w signal.Workload) (time.Duration, bool) {
	var all []time.Duration
	for _, r := range records {
		if r.Action != "scaled up" || r.Object != (timeline.Object{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}) {
			continue
		}
		var took time.Duration
		for _, s := range r.Stages {
			switch s.Name {
			case waterfall.StageSignal, waterfall.StageAnswer:
				continue
			}
			took += s.Duration
		}
		if len(r.Stages) > 5 { // it was ready
			all = append(all, took)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}

// allSettings are the present ones and those of each --set.
func allSettings(present replay.Settings, o replayOptions) ([]replay.Settings, error) {
	if o.present != "" {
		var err error
		if present, err = present.With(o.present); err != nil {
			return nil, fmt.Errorf("--present %w", err)
		}
	}
	present.Name = "present"
	if err := present.Check(); err != nil {
		return nil, fmt.Errorf("%w: say it with --present target=NUMBER", err)
	}
	out := []replay.Settings{present}
	for _, changes := range o.sets {
		s, err := present.With(changes)
		if err != nil {
			return nil, fmt.Errorf("--set %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// mostReplayed is how many workloads are shown one by one.
const mostReplayed = 10

func (a replayAnswer) print(w io.Writer, p paint) {
	shown := slices.Clone(a.Workloads)
	slices.SortStableFunc(shown, func(x, y replay.Result) int {
		return compareFloat(y.Outcomes[0].PodSeconds, x.Outcomes[0].PodSeconds)
	})
	for i, r := range shown {
		if i == mostReplayed {
			fmt.Fprintf(w, "… and %d workloads with fewer pods; -o json has all\n\n", len(shown)-i)
			break
		}
		printReplayed(w, p, r)
	}
	if len(shown) > 1 {
		fmt.Fprintln(w, p.bold(fmt.Sprintf("All %d workloads", len(shown))))
		outcomeTable(a.Total).write(w)
		fmt.Fprintln(w)
	}
	var facts int
	for _, r := range a.Workloads {
		facts += r.Facts
	}
	fmt.Fprintln(w, p.faint(fmt.Sprintf("%d facts replayed in %s", facts, shortly(time.Duration(a.TookSeconds*float64(time.Second))))))
}

func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sparkWidth is how wide a course over time is drawn.
const sparkWidth = 60

func printReplayed(w io.Writer, p paint, r replay.Result) {
	first := r.Outcomes[0]
	fmt.Fprintf(w, "%s   %s from %s\n", p.bold(clean(r.Workload.String())), shortly(first.To.Sub(first.From)), first.From.UTC().Format("2006-01-02 15:04:05 UTC"))
	width := len("demand")
	for _, o := range r.Outcomes {
		width = max(width, visible(o.Settings))
	}
	fmt.Fprintf(w, "  %-*s  %s  peak %.4g\n", width, "demand", replay.Spark(first.Series.Demand, sparkWidth), first.PeakDemand)
	for _, o := range r.Outcomes {
		fmt.Fprintf(w, "  %-*s  %s  peak %d\n", width, o.Settings, replay.Spark(o.Series.Pods, sparkWidth), o.Peak)
	}
	fmt.Fprintln(w)
	outcomeTable(r.Outcomes).write(w)
	fmt.Fprintln(w)
}

func outcomeTable(outcomes []replay.Outcome) *table {
	t := &table{header: []string{"SETTINGS", "POD-HOURS", "PEAK", "UP", "IN", "UNSERVED", "FOR", "WASTE"}}
	for i := range outcomes {
		o := &outcomes[i]
		t.add(o.Settings, fmt.Sprintf("%.2f", o.PodSeconds/3600), fmt.Sprint(o.Peak), fmt.Sprint(o.ScaleUps), fmt.Sprint(o.ScaleIns),
			percentText(o.UnservedShare()), shortly(time.Duration(o.UnservedSeconds*float64(time.Second))), percentText(o.Waste()))
	}
	return t
}

func percentText(share float64) string {
	switch {
	case share <= 0:
		return "0 %"
	case share < 0.01:
		return fmt.Sprintf("%.3f %%", 100*share)
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}
