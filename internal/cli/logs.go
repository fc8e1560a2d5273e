package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logsOptions are the flags of `escale logs`.
type logsOptions struct {
	follow, previous, timestamps bool
	tail                         int64
	since                        time.Duration
}

func logsCommand(e *env) *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:   "logs APP",
		Short: "Print the logs of an application's pods",
		Long: `Print the logs of all pods of an application, each line with the pod it comes from. With -f it goes on with new lines,
also those of pods that are started later.`,
		Example: `  # The last hundred lines of each pod, then what is new
  escale logs -f --tail 100 web

  # What pods said before they were started again
  escale logs --previous web`,
		Args:              oneArg("the name of an App"),
		ValidArgsFunction: e.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			if o.follow && o.previous {
				return usageError(c, errors.New("--follow and --previous exclude each other: what ended says nothing new"))
			}
			cl, err := e.connect(c.Context())
			if err != nil {
				return err
			}
			if _, err := cl.app(c.Context(), args[0]); err != nil {
				return err
			}
			return e.logs(c.Context(), cl, args[0], o)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with new lines until interrupted")
	f.BoolVarP(&o.previous, "previous", "p", false, "the logs of the run before the present one, of pods that were started again")
	f.Int64Var(&o.tail, "tail", -1, "lines per pod to begin with; -1 is all")
	f.DurationVar(&o.since, "since", 0, "only lines newer than this, such as 5m")
	f.BoolVar(&o.timestamps, "timestamps", false, "begin each line with its time")
	return c
}

func (e *env) logs(ctx context.Context, c *cluster, app string, o logsOptions) error {
	l := &logPrinter{out: e.out, paint: e.paint(e.out), notes: e.err, cluster: c, options: o, seen: map[string]bool{}}
	if o.follow {
		return l.follow(ctx, app)
	}
	pods, err := c.podsOf(ctx, app)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return withNext(fmt.Errorf("App %q has no pods", app), "`escale status %s -n %s` says why", app, c.namespace)
	}
	for i := range pods {
		if err := l.print(ctx, &pods[i]); err != nil {
			return err
		}
	}
	if !l.found && o.previous {
		return withNext(fmt.Errorf("no pod of App %q was started again", app), "without --previous, the present logs are printed")
	}
	return nil
}

func selectorOf(app string) string { return v1alpha1.LabelApp + "=" + app }

// podsOf lists the pods of an App, the oldest first.
func (c *cluster) podsOf(ctx context.Context, app string) ([]corev1.Pod, error) {
	list, err := c.clientset.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: selectorOf(app)})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of App %q: %w", app, err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// logPrinter prints the logs of several pods to one stream, line by line.
type logPrinter struct {
	out, notes io.Writer
	paint      paint
	cluster    *cluster
	options    logsOptions

	mu    sync.Mutex
	seen  map[string]bool // runs whose log is printed, and what was said of pods without one
	found bool
	wg    sync.WaitGroup
}

// run is one run of a container that has a log.
type run struct {
	pod, container, id string
}

// runs are the runs of a pod's containers whose log can be read.
func runs(pod *corev1.Pod, previous bool) []run {
	var out []run
	for _, s := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		state := s.State
		if previous {
			state = s.LastTerminationState
		}
		switch {
		case state.Running != nil:
			out = append(out, run{pod.Name, s.Name, s.ContainerID})
		case state.Terminated != nil && state.Terminated.ContainerID != "":
			out = append(out, run{pod.Name, s.Name, state.Terminated.ContainerID})
		case !previous && s.LastTerminationState.Terminated != nil:
			// Waiting to be started again: the log is that of the run that ended.
			out = append(out, run{pod.Name, s.Name, s.LastTerminationState.Terminated.ContainerID})
		}
	}
	return out
}

// note says why a pod has no log yet; empty where it has, or nothing is wrong.
func note(pod *corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Message != "" {
			return fmt.Sprintf("%s: %s", w.Reason, w.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return ""
}

// print prints what is there of one pod's logs.
func (l *logPrinter) print(ctx context.Context, pod *corev1.Pod) error {
	list := runs(pod, l.options.previous)
	if len(list) == 0 && !l.options.previous {
		l.say(pod)
	}
	for _, r := range list {
		l.found = true
		if err := l.stream(ctx, r, l.options.tail); err != nil {
			return err
		}
	}
	return nil
}

// say tells once what keeps a pod from having a log.
func (l *logPrinter) say(pod *corev1.Pod) {
	text := note(pod)
	if text == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if key := pod.Name + " " + text; !l.seen[key] {
		l.seen[key] = true
		fmt.Fprintf(l.notes, "%s has no log yet: %s\n", pod.Name, clean(text))
	}
}

// follow prints the logs of all pods until ctx ends: those of each run of each container, as soon as it begins.
func (l *logPrinter) follow(ctx context.Context, app string) error {
	defer l.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for first := true; ; first = false {
		// A watch without a version begins with what exists.
		w, err := l.cluster.clientset.CoreV1().Pods(l.cluster.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: selectorOf(app)})
		if err != nil && first {
			return fmt.Errorf("watching the pods of App %q: %w", app, err)
		}
		if err == nil {
			for event := range w.ResultChan() {
				if pod, ok := event.Object.(*corev1.Pod); ok {
					l.begin(ctx, pod, first)
				}
			}
		}
		if !pause(ctx, reopen) {
			return ctx.Err()
		}
	}
}

// begin follows the runs of a pod that are not followed yet. The --tail of the command is for what existed before it.
func (l *logPrinter) begin(ctx context.Context, pod *corev1.Pod, first bool) {
	list := runs(pod, false)
	if len(list) == 0 {
		l.say(pod)
	}
	for _, r := range list {
		l.mu.Lock()
		known := l.seen[r.id]
		l.seen[r.id] = true
		l.mu.Unlock()
		if known {
			continue
		}
		tail := int64(-1)
		if first {
			tail = l.options.tail
		}
		l.wg.Go(func() {
			if err := l.stream(ctx, r, tail); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				fmt.Fprintf(l.notes, "%s: its log cannot be read: %s\n", r.pod, clean(innermost(err)))
			}
		})
	}
}

// stream prints one run's log to its end, or with --follow as long as it runs.
func (l *logPrinter) stream(ctx context.Context, r run, tail int64) error {
	opts := &corev1.PodLogOptions{
		Container: r.container, Follow: l.options.follow, Previous: l.options.previous, Timestamps: l.options.timestamps,
	}
	if tail >= 0 {
		opts.TailLines = &tail
	}
	if l.options.since > 0 {
		seconds := int64(max(l.options.since.Seconds(), 1))
		opts.SinceSeconds = &seconds
	}
	body, err := l.cluster.clientset.CoreV1().Pods(l.cluster.namespace).GetLogs(r.pod, opts).Stream(ctx)
	if apierrors.IsNotFound(err) {
		return nil // the pod has gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("reading the log of pod %q: %w", r.pod, err)
	}
	defer body.Close()
	reader := bufio.NewReader(body)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			l.line(r, strings.TrimRight(line, "\r\n"))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log of pod %q: %w", r.pod, err)
		}
	}
}

// prefixColours tell pods apart; red is for trouble.
var prefixColours = []string{"36", "35", "33", "34", "32", "96", "95", "94"}

// line prints one line. A program's own colours reach a terminal, as they would have without Escale, and nothing else.
func (l *logPrinter) line(r run, text string) {
	colour := 0
	for _, b := range []byte(r.pod) {
		colour = (colour*31 + int(b)) % len(prefixColours)
	}
	prefix := l.paint.with(prefixColours[colour], r.pod)
	if !l.paint {
		text = colourCode.ReplaceAllString(text, "")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%s | %s\n", prefix, text)
}
