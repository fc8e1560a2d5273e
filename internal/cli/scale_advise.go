package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/advise"
	"github.com/escale-dev/escale/internal/scale/replay"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/spf13/cobra"
)

// adviceSchema names the form of what `escale scale advise -o json` prints.
const adviceSchema = "escale.dev/advice/v1"

// adviceAnswer is the answer of `escale scale advise`.
type adviceAnswer struct {
	Schema string `json:"schema"`
	// ReactionSeconds is how long the loop was taken to react.
	ReactionSeconds float64         `json:"reactionSeconds"`
	Workloads       []advise.Advice `json:"workloads"`
	Total           adviceTotal     `json:"total"`
}

type adviceTotal struct {
	CPU    advise.Resource `json:"cpu"`
	Memory advise.Resource `json:"memory"`
	Enough float64         `json:"enough"`
}

func adviseCommand(e *env) *cobra.Command {
	var f format
	var reaction, within time.Duration
	c := &cobra.Command{
		Use:   "advise [FILE]",
		Short: "Say what is reserved and not used, and which target would have met the peaks",
		Long: `Say for each workload what it reserves of CPU and memory and what it uses, and the target of CPU utilisation that
would still have met the last peaks: the highest at which no rise within the reaction time would have gone beyond what
its pods reserve. The workload with the most to spare comes first.

It reads what the platform of this machine recorded, or FILE. See docs/waterfall.md for what the reaction time is, and
docs/replay.md for how to try a target.`,
		Example: `  # The last day, for a loop that takes 10 s
  escale scale advise

  # The last week, for one that takes 30 s, as JSON
  escale scale advise --within 168h --reaction 30s -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if reaction <= 0 || reaction > advise.MaxReaction {
				return usageError(c, fmt.Errorf("--reaction %s: want a time up to %s", reaction, advise.MaxReaction))
			}
			recording, err := e.openRecording(append(args, "")[0])
			if err != nil {
				return err
			}
			a, err := e.advise(recording, reaction, within, len(args) > 0)
			if err != nil {
				return err
			}
			return f.write(e.out, a, func(bool) { a.print(e.out, e.paint(e.out)) })
		},
	}
	f.bind(c, "json", "yaml")
	c.Flags().DurationVar(&reaction, "reaction", advise.DefaultReaction, "how long the loop takes from a rise to pods that answer")
	c.Flags().DurationVar(&within, "within", 24*time.Hour, "how far back to look in what the platform recorded")
	return c
}

// advise reads a recording; of what the platform recorded the last part only.
func (e *env) advise(recording replay.Recording, reaction, within time.Duration, whole bool) (adviceAnswer, error) {
	since := time.Now().Add(-within)
	advisor := advise.New(reaction)
	err := recording.Each(func(w signal.Workload) bool {
		return e.target.namespace == "" || w.Namespace == e.target.namespace
	})(func(w signal.Workload, facts *signal.Facts) error {
		if whole || facts.At.After(since) {
			advisor.Add(w, facts)
		}
		return nil
	})
	a := adviceAnswer{Schema: adviceSchema, ReactionSeconds: reaction.Seconds(), Workloads: advisor.Advice()}
	a.Total.CPU, a.Total.Memory, a.Total.Enough = advise.Total(a.Workloads)
	return a, err
}

func (a adviceAnswer) print(w io.Writer, p paint) {
	if len(a.Workloads) == 0 {
		fmt.Fprintln(w, "Nothing is recorded of what workloads use: there is nothing to say yet.")
		return
	}
	t := table{header: []string{"NAMESPACE", "WORKLOAD", "CPU RESERVED", "USED", "PEAK", "MEMORY RESERVED", "USED", "PEAK", "ADVICE"}}
	for i := range a.Workloads {
		one := &a.Workloads[i]
		t.add(one.Workload.Namespace, one.Workload.Kind+"/"+one.Workload.Name, coresText(one.CPU.Reserved), used(one.CPU), coresText(one.CPU.Peak),
			size(int64(one.Memory.Reserved)), used(one.Memory), size(int64(one.Memory.Peak)), adviceText(one))
	}
	t.write(w)
	fmt.Fprintf(w, "\n%s\n", a.Total.text())
	fmt.Fprintln(w, p.faint(fmt.Sprintf("Targets meet every rise that was seen, for pods that answer %s after it.", shortly(time.Duration(a.ReactionSeconds*float64(time.Second))))))
}

// text is what all workloads reserve and use, as a sentence.
func (t adviceTotal) text() string {
	var parts []string
	if t.CPU.Reserved > 0 {
		parts = append(parts, fmt.Sprintf("%s reserved, of which %s is used and %.2f would have done", coresText(t.CPU.Reserved), used(t.CPU), t.Enough))
	}
	if t.Memory.Reserved > 0 {
		parts = append(parts, fmt.Sprintf("%s of memory reserved, of which %s is used", size(int64(t.Memory.Reserved)), used(t.Memory)))
	}
	if len(parts) == 0 {
		return "No workload reserves CPU or memory."
	}
	return "In all " + strings.Join(parts, "; ") + "."
}

// coresText is a number of cores; "-" for none.
func coresText(n float64) string {
	if n <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f cores", n)
}

func used(r advise.Resource) string {
	if r.Reserved <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*r.Utilization())
}

// adviceText is the one line that is said of a workload.
func adviceText(a *advise.Advice) string {
	if a.CPU.Reserved <= 0 {
		return "reserves no CPU: give it a request, so that it can be scaled and placed by it"
	}
	text := fmt.Sprintf("a target of %.0f %% would have met every peak", 100*a.Target)
	switch spare := a.Spare(); {
	case spare > 0.005:
		text += fmt.Sprintf(", with %s less", coresText(spare))
	case spare < -0.005:
		text = fmt.Sprintf("reserves too little: a target of %.0f %% would have taken %s more", 100*a.Target, coresText(-spare))
	}
	if a.Rise != nil {
		text += fmt.Sprintf(" (steepest: %.2f to %.2f at %s)", a.Rise.From, a.Rise.To, a.Rise.At.Local().Format("Mon 15:04:05"))
	}
	return text
}
