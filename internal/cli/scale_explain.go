package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// explanationSchema names the form of what `escale scale explain -o json` prints.
const explanationSchema = "escale.dev/explanation/v1"

// explanation is the answer of `escale scale explain`.
type explanation struct {
	Schema    string `json:"schema"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Desired is what the workload asks for, Observed how many of its pods are ready.
	Desired  int32 `json:"desired"`
	Observed int32 `json:"observed"`
	// Scaler names what scales it, such as `ScaledObject "storefront"`; empty: nothing does.
	Scaler string `json:"scaler"`
	// States are what the scaler says of itself.
	States []scalerState `json:"states"`
	// Decision is the newest decision; nil where Escale's scaler has made none, or cannot be asked.
	Decision *decision.Explanation `json:"decision"`
	// Running are the scale-ups that are not over.
	Running []waterfall.Scaleup `json:"running"`
	// Records are the last acts of scaling, newest first.
	Records []timeline.Record `json:"records"`
	// Unknown says what could not be asked, and why; empty: nothing.
	Unknown string `json:"unknown,omitempty"`
}

// scalerState is one condition of a scaler.
type scalerState struct {
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Reason  string     `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
}

func explainCommand(e *env) *cobra.Command {
	var f format
	var last int
	c := &cobra.Command{
		Use:   "explain APP|KIND/NAME",
		Short: "Explain how many pods a workload has, and where the time of its scale-ups went",
		Long: `Explain how many pods a workload has and why, and show its last scale-ups stage by stage: from the demand that was
seen to the first answer of a new pod. A scale-up that is not over says where it stands. docs/waterfall.md explains the
stages.

Scale-ups are known on the machine of the platform only; of other clusters the present state is shown.`,
		Example: `  escale scale explain storefront -n shop

  # The stages of the last scale-up, for a script
  escale scale explain storefront -n shop -o json | jq '.records[0].stages'`,
		Args:              oneArg("an App, or KIND/NAME"),
		ValidArgsFunction: e.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := parseWorkload(args[0], "")
			if err != nil {
				return usageError(c, err)
			}
			x, err := e.explain(c.Context(), w, last)
			if err != nil {
				return err
			}
			return f.write(e.out, x, func(bool) { x.print(e.out, e.paint(e.out), time.Now()) })
		},
	}
	f.bind(c, "json", "yaml")
	c.Flags().IntVar(&last, "last", 5, "how many records of scaling to show")
	return c
}

// explain gathers what is known of a workload.
func (e *env) explain(ctx context.Context, w signal.Workload, last int) (explanation, error) {
	x := explanation{
		Schema: explanationSchema, Kind: w.Kind, Name: w.Name, States: []scalerState{}, Running: []waterfall.Scaleup{}, Records: []timeline.Record{},
	}
	cl, err := e.connect(ctx)
	if err != nil {
		return x, err
	}
	w.Namespace = cl.namespace
	x.Namespace = w.Namespace
	if err := x.observe(ctx, cl, w); err != nil {
		return x, err
	}
	if cl.dir == "" {
		x.Unknown = "scale-ups are known on the machine of the platform only, and this is another cluster"
		return x, nil
	}
	return x, x.recall(ctx, cl, w, last)
}

// observe reads the workload and what scales it.
func (x *explanation) observe(ctx context.Context, c *cluster, w signal.Workload) error {
	key := client.ObjectKey{Namespace: w.Namespace, Name: w.Name}
	var err error
	switch w.Kind {
	case "Deployment":
		var d appsv1.Deployment
		err = c.client.Get(ctx, key, &d)
		x.Desired, x.Observed = ptr.Deref(d.Spec.Replicas, 1), d.Status.ReadyReplicas
	case "StatefulSet":
		var s appsv1.StatefulSet
		err = c.client.Get(ctx, key, &s)
		x.Desired, x.Observed = ptr.Deref(s.Spec.Replicas, 1), s.Status.ReadyReplicas
	case "ScaledJob":
		return x.observeJobs(ctx, c, key)
	}
	if apierrors.IsNotFound(err) {
		return &failure{err: fmt.Errorf("there is no %s %q in namespace %q", w.Kind, w.Name, w.Namespace),
			next: "`escale status` lists the Apps of all namespaces; -n names another namespace", final: true}
	}
	if err != nil {
		return fmt.Errorf("reading %s %q: %w", w.Kind, w.Name, err)
	}
	if found, err := x.scaledObject(ctx, c, w); found || err != nil {
		return err
	}
	return x.autoscaler(ctx, c, w)
}

// observeJobs reads a ScaledJob: its own kind scales it.
func (x *explanation) observeJobs(ctx context.Context, c *cluster, key client.ObjectKey) error {
	var j kedav1alpha1.ScaledJob
	if err := c.client.Get(ctx, key, &j); err != nil {
		return fmt.Errorf("reading ScaledJob %q: %w", key.Name, err)
	}
	x.Scaler = fmt.Sprintf("ScaledJob %q", j.Name)
	x.States = statesOf(j.Status.Conditions)
	return nil
}

func (x *explanation) scaledObject(ctx context.Context, c *cluster, w signal.Workload) (bool, error) {
	var list kedav1alpha1.ScaledObjectList
	err := c.client.List(ctx, &list, client.InNamespace(w.Namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("listing ScaledObjects: %w", err)
	}
	for i := range list.Items {
		ref := list.Items[i].Spec.ScaleTargetRef
		if ref == nil || ref.Name != w.Name || (ref.Kind != w.Kind && (ref.Kind != "" || w.Kind != "Deployment")) {
			continue
		}
		x.Scaler = fmt.Sprintf("ScaledObject %q", list.Items[i].Name)
		x.States = statesOf(list.Items[i].Status.Conditions)
		return true, nil
	}
	return false, nil
}

func statesOf(conditions kedav1alpha1.Conditions) []scalerState {
	out := []scalerState{}
	for _, c := range conditions {
		out = append(out, scalerState{Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message})
	}
	return out
}

func (x *explanation) autoscaler(ctx context.Context, c *cluster, w signal.Workload) error {
	var list autoscalingv2.HorizontalPodAutoscalerList
	if err := c.client.List(ctx, &list, client.InNamespace(w.Namespace)); err != nil {
		return fmt.Errorf("listing HorizontalPodAutoscalers: %w", err)
	}
	for _, hpa := range list.Items {
		if ref := hpa.Spec.ScaleTargetRef; ref.Kind != w.Kind || ref.Name != w.Name {
			continue
		}
		x.Scaler = fmt.Sprintf("HorizontalPodAutoscaler %q", hpa.Name)
		for _, s := range hpa.Status.Conditions {
			x.States = append(x.States, scalerState{
				Type: string(s.Type), Status: string(s.Status), Reason: s.Reason, Message: s.Message, Since: ptr.To(s.LastTransitionTime.UTC()),
			})
		}
	}
	return nil
}

// recall reads the timeline's file and asks the running platform for what is not over.
func (x *explanation) recall(ctx context.Context, c *cluster, w signal.Workload, last int) error {
	records, err := timeline.Load(c.dir.Timeline())
	if err != nil {
		return err
	}
	f := timeline.Filter{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}
	for _, r := range slices.Backward(records) {
		if len(x.Records) < last && f.Match(r) && (r.Actor == "scale" || r.Actor == "hours") {
			x.Records = append(x.Records, r)
		}
	}
	running := control.NewClient(c.dir)
	err = running.View(ctx, waterfall.ViewName, waterfall.Query(w), &x.Running)
	if err == nil {
		err = running.View(ctx, decision.ViewName, waterfall.Query(w), &x.Decision)
	}
	if errors.Is(err, control.ErrNoView) || errors.Is(err, control.ErrNotRunning) {
		x.Unknown = "the newest decision and scale-ups that run are not known: " + err.Error()
		return nil
	}
	return err
}

func (x explanation) print(w io.Writer, p paint, now time.Time) {
	fmt.Fprintf(w, "%s   %d desired, %d ready", p.bold(fmt.Sprintf("%s %s/%s", x.Kind, x.Namespace, x.Name)), x.Desired, x.Observed)
	if x.Scaler == "" {
		fmt.Fprintln(w, "; nothing scales it")
	} else {
		fmt.Fprintf(w, "; scaled by %s\n", x.Scaler)
	}
	if x.Decision != nil {
		printDecision(w, p, x.Decision, now)
	}
	for _, s := range x.States {
		if x.Decision == nil || s.Type == kedav1alpha1.ConditionReady && s.Status != "True" {
			printState(w, p, s, now)
		}
	}
	for _, s := range x.Running {
		fmt.Fprintf(w, "\n%s from %d to %d, since %s: %s\n", p.yellow("scaling up"), s.From, s.To, shortly(s.Total()), clean(s.Reason))
		printStages(w, p, s.Stages)
		fmt.Fprintf(w, "  now: %s\n", clean(s.Stands))
	}
	for _, r := range x.Records {
		fmt.Fprintf(w, "\n%s %s from %s to %s, %s ago", p.bold(r.Time.Local().Format("Mon 15:04:05")), r.Action, r.From, r.To, shortly(now.Sub(r.Time)))
		if total := r.Total(); total > 0 {
			fmt.Fprintf(w, ", %s in all", shortly(total))
		}
		fmt.Fprintf(w, "\n  %s\n", clean(r.Reason))
		stages := make([]waterfall.Stage, len(r.Stages))
		for i, s := range r.Stages {
			stages[i] = waterfall.Stage{Name: s.Name, Duration: s.Duration}
		}
		printStages(w, p, stages)
	}
	if len(x.Records)+len(x.Running) == 0 && x.Unknown == "" {
		fmt.Fprintln(w, "\nit has not been scaled yet")
	}
	if x.Unknown != "" {
		fmt.Fprintf(w, "\n%s\n", clean(x.Unknown))
	}
}

// printDecision says what was decided, on which evidence, how old that is, and what will change it.
func printDecision(w io.Writer, p paint, d *decision.Explanation, now time.Time) {
	fmt.Fprintf(w, "  decided    %s ago: %s\n", shortly(now.Sub(d.At)), clean(d.Reason))
	if d.Held {
		fmt.Fprintf(w, "  %s       %s\n", p.yellow("held"), clean(d.Limit))
	}
	for _, e := range d.Evidence {
		fmt.Fprintf(w, "  seen       %s\n", clean(evidenceText(e, now)))
	}
	if d.Next != nil && d.Next.After(now) {
		fmt.Fprintf(w, "  next look  in %s, and whenever something changes\n", shortly(d.Next.Sub(now)))
	}
}

func evidenceText(e decision.Evidence, now time.Time) string {
	unit := e.Unit
	if unit == "" {
		unit = "of " + e.Metric
	}
	if e.At == nil {
		return fmt.Sprintf("nothing of %s yet", e.Metric)
	}
	text := fmt.Sprintf("%.4g %s (counts as %.4g, target %.4g: %d pods), %s old", e.Value, unit, e.Demand, e.Target, e.Pods, shortly(now.Sub(*e.At)))
	if e.FailingSince != nil {
		text += fmt.Sprintf(", not readable for %s", shortly(now.Sub(*e.FailingSince)))
	}
	if e.Fallback {
		text += ", the fallback counts"
	}
	return text
}

func printState(w io.Writer, p paint, s scalerState, now time.Time) {
	status := s.Status
	switch status {
	case "True":
		status = p.green("yes")
	case "False":
		status = p.faint("no")
	}
	fmt.Fprintf(w, "  %-10s %s", s.Type, status)
	if text := clean(s.Message); text != "" {
		fmt.Fprintf(w, "   %s", text)
	}
	if s.Since != nil {
		fmt.Fprintf(w, p.faint(" (for %s)"), shortly(now.Sub(*s.Since)))
	}
	fmt.Fprintln(w)
}

// barWidth is how wide a waterfall is drawn.
const barWidth = 48

// printStages draws stages one below the other, each where the one before ended.
func printStages(w io.Writer, p paint, stages []waterfall.Stage) {
	var total time.Duration
	for _, s := range stages {
		total += s.Duration
	}
	var from time.Duration
	for _, s := range stages {
		bar := bar(from, s.Duration, total)
		took := shortly(s.Duration)
		if s.Running {
			took += " …"
			bar = p.yellow(bar)
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-12s %10s  %s", s.Name, took, bar), " "))
		from += s.Duration
	}
}

// bar is a part of the whole width, at least a mark where it took any time.
func bar(from, took, total time.Duration) string {
	if total <= 0 || took <= 0 {
		return ""
	}
	begin := min(int(float64(from)/float64(total)*barWidth), barWidth-1)
	end := int(float64(from+took) / float64(total) * barWidth)
	if end <= begin {
		return strings.Repeat(" ", begin) + "▏"
	}
	return strings.Repeat(" ", begin) + strings.Repeat("█", end-begin)
}
