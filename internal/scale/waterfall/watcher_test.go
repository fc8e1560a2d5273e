package waterfall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a watcher that runs in a bubble of virtual time.
type world struct {
	*Watcher
	t        *testing.T
	timeline *timeline.Timeline
	signals  *signal.Store
	stop     func()
}

func inWorld(t *testing.T, f func(w world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tl, err := timeline.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.Close()
		w := world{t: t, timeline: tl, signals: &signal.Store{}}
		w.Watcher = newWatcher(tl, w.signals)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Start(ctx) }()
		w.stop = func() { cancel(); <-done }
		defer w.stop()
		synctest.Wait()
		f(w)
	})
}

// after lets virtual time pass.
func (w world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// scale is a scale-up that the API server accepts after 20 ms.
func (w world) scale(from, to int32) {
	acted := w.Began(Act{
		Workload: storefront, From: from, To: to, Reason: "412 in flight",
		Demand: time.Now().Add(-300 * time.Millisecond), Decided: time.Now(),
	})
	w.after(20 * time.Millisecond)
	acted(nil)
}

func (w world) record() timeline.Record {
	w.t.Helper()
	all := w.timeline.List(timeline.Filter{})
	if len(all) != 1 {
		w.t.Fatalf("%d records: %+v", len(all), all)
	}
	return all[0]
}

// pod is a new pod of the storefront; each step is one that a watch would show.
func pod(n int, steps ...string) *corev1.Pod {
	yes := true
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("storefront-abc-%d", n), Namespace: "shop", UID: types.UID(fmt.Sprint(n)),
		Labels:          map[string]string{"pod-template-hash": "abc"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "storefront-abc", Controller: &yes}},
	}}
	o.Spec.Containers = []corev1.Container{{Name: "main"}}
	for _, s := range steps {
		switch s {
		case "unplaced":
			o.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
				Message: "0/3 nodes are available: 3 Insufficient cpu.",
			}}
		case "bound":
			o.Spec.NodeName, o.Status.Conditions = "node-1", nil
		case "started":
			o.Status.PodIP = fmt.Sprintf("10.0.0.%d", n)
			o.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		case "ready":
			o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
	return o
}

// grow takes a pod to ready, 100 ms each step.
func (w world) grow(n int) {
	w.podAdded(pod(n))
	for i := range []int{1, 2, 3} {
		w.after(100 * time.Millisecond)
		w.podChanged(pod(n, []string{"bound", "started", "ready"}[:i+1]...))
	}
}

func TestRecordsAScaleUpWhenItsPodsHaveAnswered(t *testing.T) {
	inWorld(t, func(w world) {
		w.scale(2, 3)
		w.grow(1)
		if got := w.Running(storefront); len(got) != 1 || got[0].Stands != "0 of 1 new pods answered; 1 ready, not yet routed" {
			t.Errorf("while it runs: %+v", got)
		}
		w.signals.PodReached("10.0.0.1:8080", signal.PodRouted, time.Now())
		w.after(40 * time.Millisecond)
		w.signals.PodReached("10.0.0.1:8080", signal.PodAnswered, time.Now())
		r := w.record()
		if got := fmt.Sprint(r.Actor, " ", r.Action, " ", r.Object, ", ", r.From, " to ", r.To, ": ", r.Reason); got !=
			"scale scaled up Deployment shop/storefront, 2 pods to 3 pods: 412 in flight; 1 of 1 new pods answered after 0.66 s" {
			t.Errorf("record %s", got)
		}
		want := "signal 300, decision 20, placement 100, node 0, start 100, ready 100, routed 0, first answer 40"
		if got := recorded(r); got != want {
			t.Errorf("stages\n got %s\nwant %s", got, want)
		}
		if got := w.Running(signal.Workload{}); len(got) != 0 || len(w.owner)+len(w.reached)+w.count != 0 {
			t.Errorf("left behind: %+v", got)
		}
	})
}

func recorded(r timeline.Record) string {
	var out []Stage
	for _, s := range r.Stages {
		out = append(out, Stage{Name: s.Name, Duration: s.Duration})
	}
	return text(out)
}

func TestDataPlaneMaySeeAPodFirst(t *testing.T) {
	inWorld(t, func(w world) {
		w.scale(0, 1)
		w.podAdded(pod(1, "bound"))
		w.after(100 * time.Millisecond)
		w.signals.PodReached("10.0.0.1:8080", signal.PodRouted, time.Now())
		w.signals.PodReached("10.0.0.1:8080", signal.PodAnswered, time.Now())
		w.after(50 * time.Millisecond)
		w.podChanged(pod(1, "bound", "started", "ready"))
		if got := w.record().Reason; got != "412 in flight; 1 of 1 new pods answered after 0.42 s" {
			t.Errorf("reason %s", got)
		}
	})
}

func TestEndsWithoutAnAnswer(t *testing.T) {
	for _, c := range []struct {
		name, want string
		run        func(w world)
	}{
		{"no route leads there", "1 ready, and no route leads there", func(w world) { w.grow(1); w.after(routeWait) }},
		{"no request came", "1 ready and routed, without a request yet", func(w world) {
			w.grow(1)
			w.signals.PodReached("10.0.0.1:8080", signal.PodRouted, time.Now())
			w.after(answerWait)
		}},
		{"no node in all the time", "1 without a node: the scheduler says 0/3 nodes are available: 3 Insufficient cpu; not waited for longer than 15 min", func(w world) {
			w.podAdded(pod(1))
			w.podChanged(pod(1, "unplaced"))
			w.after(giveUp)
		}},
		{"no pod was made", "1 not made; not waited for longer than 15 min", func(w world) { w.after(giveUp) }},
		{"deleted", "1 removed before", func(w world) { w.grow(1); w.podDeleted(pod(1)) }},
		{"scaled in before pods came", "0 of 0 new pods answered", func(w world) { w.ScaledIn(storefront) }},
		{"the platform stopped", "1 ready, not yet routed; the platform stopped before it was over", func(w world) { w.grow(1); w.stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w world) {
				w.scale(2, 3)
				c.run(w)
				if got := w.record().Reason; !strings.HasSuffix(got, c.want) {
					t.Errorf("reason %q, want it to end with %q", got, c.want)
				}
			})
		})
	}
}

func TestWhatTheAPIRefusedIsNoScaleUp(t *testing.T) {
	inWorld(t, func(w world) {
		w.Began(Act{Workload: storefront, From: 1, To: 2, Decided: time.Now()})(errors.New("conflict"))
		w.Began(Act{Workload: storefront, From: 2, To: 1, Decided: time.Now()})(nil)
		if got := w.Running(signal.Workload{}); len(got) != 0 {
			t.Errorf("running: %+v", got)
		}
		if got := w.timeline.List(timeline.Filter{}); len(got) != 0 {
			t.Errorf("records: %+v", got)
		}
	})
}

func TestPodsBelongToTheFirstScaleUpWithRoom(t *testing.T) {
	inWorld(t, func(w world) {
		w.scale(1, 2)
		w.after(time.Second)
		w.scale(2, 4)
		for n := range 4 {
			w.podAdded(pod(n))
		}
		stranger := pod(9)
		stranger.OwnerReferences[0].Name, stranger.Labels = "other-abc", map[string]string{"pod-template-hash": "abc"}
		w.podAdded(stranger)
		got := w.Running(storefront)
		if len(got) != 2 || len(got[0].Pods) != 1 || len(got[1].Pods) != 2 {
			t.Errorf("running: %+v", got)
		}
	})
}

func TestAnAddressUsedAgainIsAnotherPod(t *testing.T) {
	inWorld(t, func(w world) {
		w.scale(1, 3)
		w.grow(1)
		w.signals.PodReached("10.0.0.1:8080", signal.PodAnswered, time.Now())
		w.podDeleted(pod(1, "bound", "started", "ready"))
		w.after(time.Second)
		again := pod(1, "bound", "started")
		again.UID = "again"
		w.podAdded(again)
		if got := w.Running(storefront)[0].Pods[1]; !got.Answered.IsZero() || got.Created.IsZero() {
			t.Errorf("the new pod: %+v", got)
		}
		if got := w.signals.PodTimes("10.0.0.1:8080"); got != (signal.PodTimes{}) {
			t.Errorf("the store still says %+v", got)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inWorld(t, func(w world) {
		for range mostRunning + 5 {
			w.Began(Act{Workload: storefront, From: 0, To: 1000, Decided: time.Now()})(nil)
		}
		if w.count != mostRunning || len(w.timeline.List(timeline.Filter{})) != 5 {
			t.Errorf("%d run, %d recorded", w.count, len(w.timeline.List(timeline.Filter{})))
		}
		for n := range 60 {
			w.podAdded(pod(n))
		}
		if got := len(w.Running(storefront)[0].Pods); got != mostPods {
			t.Errorf("%d pods of the first are followed, want %d", got, mostPods)
		}
	})
}

func TestNilWatcher(t *testing.T) {
	var w *Watcher
	w.Began(act(1, 2))(nil)
	w.ScaledIn(storefront)
	if got := w.Running(storefront); got != nil {
		t.Errorf("nil runs %v", got)
	}
}
