package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// follow waits for the Apps, each until it serves or has failed.
func (d *deploy) follow(ctx context.Context, targets []target) ([]Result, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithDeadlineCause(ctx, d.start.Add(d.Timeout), errTimeout)
	defer cancel()
	reader, woken, err := d.watch(ctx, targets)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(targets))
	done := make(chan struct{})
	wakers := make([]chan struct{}, len(targets))
	for i, t := range targets {
		wakers[i] = make(chan struct{}, 1)
		w := waiter{deploy: d, target: t, reader: reader, woken: wakers[i]}
		go func() {
			results[i] = w.run(ctx)
			done <- struct{}{}
		}()
	}
	for left := len(targets); left > 0; {
		select {
		case <-done:
			left--
		case <-woken:
			for _, w := range wakers {
				wake(w)
			}
		}
	}
	if slices.ContainsFunc(results, func(r Result) bool { return r.Err != nil }) {
		return results, ErrNotServing
	}
	return results, nil
}

// errTimeout ends the waiting for Apps; anything else is an interruption.
var errTimeout = errors.New("the time is up")

// wake leaves one signal; a second one before the first is taken would say nothing new.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch keeps the facts about the Apps in memory and signals each change.
func (d *deploy) watch(ctx context.Context, targets []target) (client.Reader, chan struct{}, error) {
	namespaces := map[string]cache.Config{}
	for _, t := range targets {
		namespaces[t.key.Namespace] = cache.Config{}
	}
	rendered, err := labels.NewRequirement(v1alpha1.LabelApp, selection.Exists, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("selecting the objects of Apps: %w", err)
	}
	facts, err := cache.New(d.Config, cache.Options{
		Scheme: d.client.Scheme(), Mapper: d.client.RESTMapper(), DefaultNamespaces: namespaces,
		DefaultLabelSelector: labels.NewSelector().Add(*rendered),
		ByObject:             map[client.Object]cache.ByObject{&v1alpha1.App{}: {Label: labels.Everything()}},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("watching the cluster: %w", err)
	}
	woken := make(chan struct{}, 1)
	for _, o := range []client.Object{
		&v1alpha1.App{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &appsv1.ControllerRevision{}, &corev1.Pod{},
		&batchv1.CronJob{}, &batchv1.Job{}, &gatewayv1.HTTPRoute{},
	} {
		if err := onChange(ctx, facts, o, func() { wake(woken) }); err != nil {
			return nil, nil, err
		}
	}
	go func() { _ = facts.Start(ctx) }() // it ends with ctx; what fails in it is retried there
	if !facts.WaitForCacheSync(ctx) {
		return nil, nil, fmt.Errorf("watching the cluster: %w", context.Cause(ctx))
	}
	// A gateway is in a namespace of its own, and asked for rarely.
	reader, err := client.New(d.Config, client.Options{
		Scheme: d.client.Scheme(), Mapper: d.client.RESTMapper(),
		Cache: &client.CacheOptions{Reader: facts, DisableFor: []client.Object{&gatewayv1.Gateway{}}},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("watching the cluster: %w", err)
	}
	return reader, woken, nil
}

func onChange(ctx context.Context, c cache.Cache, o client.Object, changed func()) error {
	informer, err := c.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if isNoKind(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watching the cluster: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return fmt.Errorf("watching the cluster: %w", err)
	}
	return nil
}

// waiter follows one App.
type waiter struct {
	*deploy
	target target
	reader client.Reader
	woken  chan struct{}

	last  Event
	stall stall
}

// run answers when the App serves, has failed, or the time is up.
func (w *waiter) run(ctx context.Context) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var answers chan answer // not nil while a request is on its way
	for {
		f, s, err := w.look(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoApp) {
			return w.failed(ctx, f, s, "Unreadable", err.Error())
		}
		step := w.stall.next(s, f, w.target, time.Now())
		switch {
		case step.failed:
			c := condition(s, v1alpha1.ConditionStalled)
			return w.failed(ctx, f, s, c.Reason, c.Message)
		case step.ready && !asked(f.App):
			return w.served(s, "")
		case step.ready && answers == nil:
			w.tell(s, StepChecking, "waiting for the first answer")
			answers = make(chan answer, 1)
			go func() { answers <- w.ask(ctx) }()
		case !step.ready:
			w.tell(s, StepWaiting, cmp.Or(w.stateOf(s).Message, "waiting for the cluster to take the App"))
		}
		select {
		case <-w.woken:
		case a := <-answers:
			answers = nil
			if a.err == nil {
				return w.served(s, a.what)
			}
			return w.late(ctx, f, s, a.err.Error())
		case <-after(step.again):
		case <-ctx.Done():
			return w.late(ctx, f, s, w.stateOf(s).Message)
		}
	}
}

// after is a channel that never speaks for zero.
func after(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

func (w *waiter) look(ctx context.Context) (Facts, v1alpha1.AppStatus, error) {
	f, err := Gather(ctx, w.reader, w.target.key.Namespace, w.target.key.Name)
	if err != nil {
		return Facts{App: w.target.app}, v1alpha1.AppStatus{}, err
	}
	if w.GatewayURL != "" {
		f.GatewayURL = w.GatewayURL
	}
	return f, Observe(f), nil
}

// stateOf is the condition that says most: why not, or that it serves.
func (w *waiter) stateOf(s v1alpha1.AppStatus) metav1.Condition {
	return condition(s, v1alpha1.ConditionReady)
}

// tell reports a step, unless it was the last thing said.
func (w *waiter) tell(s v1alpha1.AppStatus, step Step, message string) {
	e := Event{
		Namespace: w.target.key.Namespace, Name: w.target.key.Name, Step: step, Message: message,
		Ready: s.Observed, Desired: s.Desired, Revision: w.target.revision, URL: s.URL,
	}
	previous := w.last
	previous.Since = time.Time{}
	if previous == e {
		return
	}
	e.Since = time.Now()
	w.last = e
	w.events.send(e)
}

func (w *waiter) result(s v1alpha1.AppStatus) Result {
	c := w.stateOf(s)
	return Result{
		Namespace: w.target.key.Namespace, Name: w.target.key.Name, Revision: w.target.revision, URL: s.URL,
		Ready: s.Observed, Desired: s.Desired, Took: time.Since(w.start), Reason: c.Reason, Message: c.Message,
	}
}

func (w *waiter) served(s v1alpha1.AppStatus, what string) Result {
	r := w.result(s)
	r.Answer = what
	w.tell(s, StepServing, r.Message)
	return r
}

// late is an App that the time was not enough for.
func (w *waiter) late(ctx context.Context, f Facts, s v1alpha1.AppStatus, why string) Result {
	if !errors.Is(context.Cause(ctx), errTimeout) {
		return w.failed(ctx, f, s, "Interrupted", "interrupted: "+why)
	}
	if cause := w.lastWarning(ctx, f); cause != "" {
		why += ": " + cause
	}
	return w.failed(ctx, f, s, "TimedOut", fmt.Sprintf("not serving after %s: %s", w.Timeout, why))
}

func (w *waiter) failed(ctx context.Context, f Facts, s v1alpha1.AppStatus, reason, message string) Result {
	r := w.result(s)
	r.Reason, r.Message = reason, message
	r.Err = fmt.Errorf("App %q: %s", r.Name, message)
	r.Pod, r.Log = w.failingLog(ctx, f)
	w.tell(s, StepFailed, message)
	return r
}

// stallGrace is how long an App may be stalled before it is given up: what looks stalled may be another App that comes
// later, such as a Secret, a node or a gateway.
const stallGrace = 20 * time.Second

// endsTooOften is how many restarts of one pod are no accident.
const endsTooOften = 2

// stall remembers since when an App has been stalled.
type stall struct {
	since time.Time
}

// step is what to do next with an App.
type step struct {
	ready  bool
	failed bool
	again  time.Duration // look again after this, even if nothing changes; zero: no need
}

// next decides about an App from its status. Facts older than what was deployed decide nothing.
func (st *stall) next(s v1alpha1.AppStatus, f Facts, t target, now time.Time) step {
	if s.Revision != t.revision || f.generation() < t.generation {
		st.since = time.Time{}
		return step{}
	}
	if !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionStalled) {
		st.since = time.Time{}
		ready := meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady)
		held := condition(s, v1alpha1.ConditionReady).Reason == ReasonSuspended
		return step{ready: ready || held}
	}
	if st.since.IsZero() {
		st.since = now
	}
	left := stallGrace - now.Sub(st.since)
	if left <= 0 || hopeless(s, f) {
		return step{failed: true}
	}
	return step{again: left}
}

// generation is that of what was deployed.
func (f Facts) generation() int64 {
	switch {
	case f.Managed:
		return f.App.Generation
	case f.Deployment != nil:
		return f.Deployment.Generation
	case f.CronJob != nil:
		return f.CronJob.Generation
	}
	return 0
}

// hopeless says that waiting does not help.
func hopeless(s v1alpha1.AppStatus, f Facts) bool {
	switch condition(s, v1alpha1.ConditionStalled).Reason {
	case ReasonSourceNotBuilt, ReasonInvalidSpec, ReasonCommandNotFound:
		return true
	case ReasonCrashLoopBackOff, ReasonHealthCheckFailed:
		for _, p := range f.NewestPods() {
			for _, c := range containerStatuses(p) {
				if c.RestartCount >= endsTooOften {
					return true
				}
			}
		}
	}
	return false
}
