package waterfall

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// mostRunning is how many scale-ups are followed at a time; the oldest makes room.
const mostRunning = 1000

// Watcher follows scale-ups. Its methods may be called at the same time from anywhere; on a nil Watcher they do nothing.
type Watcher struct {
	timeline *timeline.Timeline
	signals  *signal.Store

	mu      sync.Mutex
	running map[signal.Workload][]*follow
	count   int
	// reached holds what data planes told while scale-ups run, by IP address: they may see a pod before its watch does.
	reached map[string]signal.PodTimes
	// owner is the scale-up each followed pod belongs to.
	owner map[types.UID]*follow
	wake  chan struct{}
}

// follow is a scale-up that is followed.
type follow struct {
	act  Act
	pods map[types.UID]Pod
	// closed says that no more pods are expected.
	closed bool
	next   time.Time
}

func newWatcher(t *timeline.Timeline, s *signal.Store) *Watcher {
	return &Watcher{
		timeline: t, signals: s, running: map[signal.Workload][]*follow{}, reached: map[string]signal.PodTimes{},
		owner: map[types.UID]*follow{}, wake: make(chan struct{}, 1),
	}
}

// Began notes that a workload is about to be scaled up: call it before the API server is asked, so that no pod is missed,
// and what it returns with the API server's answer.
func (w *Watcher) Began(a Act) (acted func(error)) {
	if w == nil || a.To <= a.From {
		return func(error) {}
	}
	f := &follow{act: a, pods: map[types.UID]Pod{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= mostRunning {
		w.endLocked(w.oldest(), time.Now(), "too many other scale-ups began")
	}
	w.running[a.Workload] = append(w.running[a.Workload], f)
	w.count++
	w.judgeLocked(f, time.Now())
	return func(err error) { w.acted(f, err) }
}

// acted is told when the API server answered.
func (w *Watcher) acted(f *follow, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.dropLocked(f)
		return
	}
	f.act.Acted = time.Now()
	w.judgeLocked(f, f.act.Acted)
}

// ScaledIn notes that a workload was scaled in: scale-ups that run expect no more pods.
func (w *Watcher) ScaledIn(workload signal.Workload) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, f := range slices.Clone(w.running[workload]) {
		f.closed = true
		w.judgeLocked(f, now)
	}
}

// Running is the scale-ups of a workload that are not over, oldest first; of all workloads for the zero Workload.
func (w *Watcher) Running(workload signal.Workload) []Scaleup {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	var out []Scaleup
	for of, list := range w.running {
		if workload != (signal.Workload{}) && workload != of {
			continue
		}
		for _, f := range list {
			out = append(out, f.assemble(now))
		}
	}
	slices.SortFunc(out, func(a, b Scaleup) int {
		return cmp.Or(a.Decided.Compare(b.Decided), cmp.Compare(a.Workload.String(), b.Workload.String()))
	})
	return out
}

// Start follows scale-ups until ctx ends, and then records those that run with how far they were.
func (w *Watcher) Start(ctx context.Context) error {
	w.signals.WatchPods(ctx, w.podReached)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.stop()
			return nil
		case <-w.wake:
		case <-timer.C:
			w.look()
		}
		timer.Stop()
		if next := w.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// next is when a scale-up may be over without anything being seen; zero when none runs.
func (w *Watcher) next() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Time
	for _, list := range w.running {
		for _, f := range list {
			if !f.next.IsZero() && (next.IsZero() || f.next.Before(next)) {
				next = f.next
			}
		}
	}
	return next
}

func (w *Watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, f := range w.all() {
		if !f.next.IsZero() && !now.Before(f.next) {
			w.judgeLocked(f, now)
		}
	}
}

func (w *Watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, f := range w.all() {
		w.endLocked(f, now, "the platform stopped before it was over")
	}
}

// all is every scale-up that runs, oldest first; the caller holds mu.
func (w *Watcher) all() []*follow {
	var out []*follow
	for _, list := range w.running {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b *follow) int { return a.act.Decided.Compare(b.act.Decided) })
	return out
}

func (w *Watcher) oldest() *follow { return w.all()[0] }

// podAdded is told of a pod that was not there when the watch began.
func (w *Watcher) podAdded(o *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return
	}
	workload, ok := workloadOf(o)
	if !ok {
		return
	}
	for _, f := range w.running[workload] {
		if !f.closed && len(f.pods) < wanted(f.act) {
			w.owner[o.UID] = f
			w.observeLocked(f, o)
			return
		}
	}
}

// podChanged is told of every change of a pod.
func (w *Watcher) podChanged(o *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f, ok := w.owner[o.UID]; ok {
		w.observeLocked(f, o)
	}
}

// podDeleted is told when a pod is no more.
func (w *Watcher) podDeleted(o *corev1.Pod) {
	if o.Status.PodIP != "" {
		w.signals.PodForget(o.Status.PodIP)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.reached, o.Status.PodIP)
	f, ok := w.owner[o.UID]
	if !ok {
		return
	}
	now := time.Now()
	p := f.pods[o.UID]
	once(&p.Gone, now, true)
	f.pods[o.UID] = p
	w.judgeLocked(f, now)
}

func (w *Watcher) observeLocked(f *follow, o *corev1.Pod) {
	now := time.Now()
	p := Observe(f.pods[o.UID], o, now)
	seen := w.reached[p.IP]
	once(&p.Routed, seen.Routed, p.IP != "" && !seen.Routed.Before(p.Created))
	once(&p.Answered, seen.Answered, p.IP != "" && !seen.Answered.Before(p.Created))
	f.pods[o.UID] = p
	w.judgeLocked(f, now)
}

// podReached is told by data planes.
func (w *Watcher) podReached(address string, stage signal.PodStage, at time.Time) {
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return
	}
	seen := w.reached[ip]
	once(&seen.Routed, at, true) // what answers is routed
	once(&seen.Answered, at, stage == signal.PodAnswered)
	w.reached[ip] = seen
	w.reachedLocked(ip, seen)
}

func (w *Watcher) reachedLocked(ip string, seen signal.PodTimes) {
	for uid, f := range w.owner {
		p := f.pods[uid]
		if p.IP != ip || !p.Gone.IsZero() {
			continue
		}
		once(&p.Routed, seen.Routed, true)
		once(&p.Answered, seen.Answered, true)
		f.pods[uid] = p
		w.judgeLocked(f, time.Now())
		return
	}
}

// judgeLocked records a scale-up that is over and plans the next look at one that is not.
func (w *Watcher) judgeLocked(f *follow, now time.Time) {
	s := f.assemble(now)
	if s.Over {
		w.endLocked(f, now, "")
		return
	}
	sooner := f.next.IsZero() || s.Next.Before(f.next)
	f.next = s.Next
	if sooner {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// endLocked makes a record of a scale-up and follows it no longer. why: what ended it before it was over.
func (w *Watcher) endLocked(f *follow, now time.Time, why string) {
	w.dropLocked(f)
	if f.act.Acted.IsZero() {
		return // nothing happened yet
	}
	w.timeline.Add(f.assemble(now).record(why))
}

func (w *Watcher) dropLocked(f *follow) {
	list := w.running[f.act.Workload]
	i := slices.Index(list, f)
	if i < 0 {
		return
	}
	w.count--
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(w.running, f.act.Workload)
	} else {
		w.running[f.act.Workload] = list
	}
	for uid := range f.pods {
		delete(w.owner, uid)
	}
	if w.count == 0 {
		clear(w.reached)
	}
}

// assemble is the scale-up as it stands now.
func (f *follow) assemble(now time.Time) Scaleup {
	pods := make([]Pod, 0, len(f.pods))
	for _, p := range f.pods {
		pods = append(pods, p)
	}
	slices.SortFunc(pods, func(a, b Pod) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	a := f.act
	if f.closed {
		a.To = min(a.To, a.From+int32(len(pods)))
	}
	s := Assemble(a, pods, now)
	s.Act = f.act
	return s
}

// record is the scale-up as the timeline keeps it.
func (s Scaleup) record(why string) timeline.Record {
	r := timeline.Record{
		Time: s.Acted, Actor: "scale", Action: "scaled up",
		Object: timeline.Object{Kind: s.Workload.Kind, Namespace: s.Workload.Namespace, Name: s.Workload.Name},
		From:   pods(s.From), To: pods(s.To), Reason: s.Reason + "; " + s.Stands,
	}
	if why != "" {
		r.Reason += "; " + why
	}
	for _, stage := range s.Stages {
		if !stage.Running {
			r.Stages = append(r.Stages, timeline.Stage{Name: stage.Name, Duration: stage.Duration})
		}
	}
	return r
}

func pods(n int32) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}
