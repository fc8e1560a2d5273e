package readiness

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Watcher waits for the containers of starting pods. Its methods may be called at the same time from anywhere.
type Watcher struct {
	// ask says whether the probe would succeed now.
	ask func(*Target) bool
	// run makes the kubelet run the probe now.
	run func(Probe)

	mu   sync.Mutex
	pods map[types.UID]map[string]waiting // by the container's name
}

// waiting is a target that is asked.
type waiting struct {
	kind Kind
	id   string
	stop context.CancelFunc
}

// New makes a watcher. run makes the kubelet run a probe now; it must not block.
func New(run func(Probe)) *Watcher { return newWatcher(newAsker().ask, run) }

func newWatcher(ask func(*Target) bool, run func(Probe)) *Watcher {
	return &Watcher{ask: ask, run: run, pods: map[types.UID]map[string]waiting{}}
}

// Observe is told the newest status of a pod, with its containers' Started and Ready: it begins to wait for those that
// run and are not ready, and ends to wait for all others.
func (w *Watcher) Observe(pod *v1.Pod, status *v1.PodStatus) {
	want := targets(pod, status)
	w.mu.Lock()
	defer w.mu.Unlock()
	old, kept := w.pods[pod.UID], map[string]waiting{}
	for i := range want {
		t := &want[i]
		have, ok := old[t.Container]
		if !ok || have.kind != t.Kind || have.id != t.ID {
			have = w.begin(t)
		} else {
			delete(old, t.Container)
		}
		kept[t.Container] = have
	}
	end(old)
	if len(kept) == 0 {
		delete(w.pods, pod.UID)
		return
	}
	w.pods[pod.UID] = kept
}

// Forget ends the wait for a pod's containers.
func (w *Watcher) Forget(pod types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end(w.pods[pod])
	delete(w.pods, pod)
}

// Retain forgets all pods but those that keep says.
func (w *Watcher) Retain(keep func(types.UID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pod, all := range w.pods {
		if !keep(pod) {
			end(all)
			delete(w.pods, pod)
		}
	}
}

func end(all map[string]waiting) {
	for _, one := range all {
		one.stop()
	}
}

func (w *Watcher) begin(t *Target) waiting {
	ctx, stop := context.WithCancel(context.Background())
	go w.wait(ctx, t)
	return waiting{t.Kind, t.ID, stop}
}

// wait asks until a status ends it or the kubelet's pace is as good. It goes on after the first good answer, because a
// probe that ran before the kubelet knew of the container has told it nothing.
func (w *Watcher) wait(ctx context.Context, t *Target) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		step, worth := t.pace(time.Now())
		if !worth {
			return
		}
		timer.Reset(step)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if w.due(t) && w.ask(t) && ctx.Err() == nil {
			w.run(t.Probe)
		}
	}
}

// due says that the probe's initial delay is over.
func (w *Watcher) due(t *Target) bool {
	return time.Since(t.Started) >= time.Duration(t.Spec.InitialDelaySeconds)*time.Second
}
