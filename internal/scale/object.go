package scale

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/types"
)

// object is a ScaledObject that is scaled. What reconciling found out does not change; a new spec makes a new object,
// which inherits the memory of the one before.
type object struct {
	scaler   *Scaler
	name     types.NamespacedName
	uid      types.UID
	target   target
	workload signal.Workload
	base     *decision.Settings
	sources  []*source
	every    time.Duration
	// wakes says that a request that waits at the gateway is demand.
	wakes bool
	// fixed are the parts of the status that do not change.
	fixed fixedStatus

	// What follows is guarded by memory's mutex.
	*memory
	set      *decision.Settings
	readings []decision.Reading
	snaps    []snapshot
	plan     decision.Plan
	decided  bool
	// reported says that the status was asked for since this object took over.
	reported bool
	closed   bool
	// decidedAt is when plan was made.
	decidedAt time.Time
}

// memory is what the objects of one ScaledObject share, one after the other: a change that is under way when the spec
// changes is seen by the object that takes over.
type memory struct {
	mu      sync.Mutex
	st      *decision.State
	acting  bool
	retryAt time.Time
	actErr  error
	// heldAt is when a request was reported to wait last, heldSince when the first of those did that wait now.
	heldAt, heldSince time.Time
	callers           callersSeen
	expected          expectation
	// excess is when the demand began to ask for more pods than there are; zero: it does not.
	excess time.Time
	// last is the number of pods that was there, or was written, last.
	last   int32
	asked  observation
	asking bool
	shown  shown
}

// expectation is the number of pods that was written and that the informer may not show yet.
type expectation struct {
	replicas int32
	until    time.Time
}

const (
	// expectFor bounds how long a written number counts more than an observed one.
	expectFor = 3 * time.Second
	// retryAct is how long after a refused change the next is tried.
	retryAct = 2 * time.Second
	// heldFor is how long a request that was reported to wait counts as one that waits.
	heldFor = 2 * time.Second
	// actTimeout bounds one change.
	actTimeout = 10 * time.Second
)

func (o *object) feed() []*source { return o.sources }

func (o *object) polling() time.Duration { return o.every }

func (o *object) close() { o.retire(nil) }

// retire ends an object whose place another takes, with the sources that it does not keep.
func (o *object) retire(kept []*source) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for _, src := range o.sources {
		if !slices.Contains(kept, src) {
			src.close()
		}
	}
}

func (o *object) held(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.wakes {
		return
	}
	if at.Sub(o.heldAt) > heldFor {
		o.heldSince = at
	}
	o.heldAt = at
}

// decide gathers facts, decides, and acts beside the loop.
func (o *object) decide(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	f, ok := o.facts(now)
	if !ok {
		return
	}
	if o.st == nil {
		o.st = decision.NewState(now, f.Replicas, o.fixed.lastActive)
	}
	o.noticeStart(now, f.Replicas)
	o.plan = decision.Decide(o.set, o.st, &f)
	if at := decision.Excess(o.set, f.Replicas, f.Readings); at.IsZero() || o.excess.IsZero() {
		o.excess = at
	}
	o.decided, o.decidedAt = true, now
	if o.plan.Replicas != f.Replicas && !o.acting && !now.Before(o.retryAt) {
		o.act(now)
	} else if o.st.Held() && now.Sub(o.callers.at) > callersEvery && !o.acting {
		o.act(now)
	}
	o.report(now)
}

// noticeStart takes it for work when someone else starts a workload that rested: a release does, to see it serve.
func (o *object) noticeStart(now time.Time, replicas int32) {
	if o.shown.resting && replicas > o.last {
		o.st.LastActive = now
	}
	o.last = replicas
}

// facts are what the decision is to know; false while the number of pods is not known.
func (o *object) facts(now time.Time) (decision.Facts, bool) {
	seen, ok := o.current(now)
	if !ok {
		return decision.Facts{}, false
	}
	o.readings, o.snaps = o.readings[:0], o.snaps[:0]
	for _, src := range o.sources {
		var snap snapshot
		o.readings, snap = src.appendTo(o.readings)
		o.snaps = append(o.snaps, snap)
	}
	o.settle()
	f := decision.Facts{
		Now: now, Replicas: seen.replicas, Pods: seen.pods, Ready: seen.ready, Readings: o.readings,
		Held: seen.ready == 0 && now.Sub(o.heldAt) < heldFor,
	}
	if now.Sub(o.callers.at) < 2*callersEvery {
		f.CallersKnown, f.Failing = true, o.callers.failing
	}
	return f, true
}

// current is how many pods the workload has.
func (o *object) current(now time.Time) (observation, bool) {
	seen, ok := o.asked, !o.asked.at.IsZero()
	if o.target.watched() {
		o.scaler.mu.Lock()
		seen, ok = o.scaler.observed[o.workload]
		o.scaler.mu.Unlock()
	} else if !o.asking && now.Sub(o.asked.at) > askEvery {
		o.ask()
	}
	if now.Before(o.expected.until) {
		if seen.replicas == o.expected.replicas {
			o.expected.until = time.Time{}
		}
		seen.replicas = o.expected.replicas
	}
	return seen, ok
}

// ask reads the scale of a target that is not watched.
func (o *object) ask() {
	o.asking = true
	o.scaler.task(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		got, err := o.scaler.scaleOf(ctx, o.target)
		o.mu.Lock()
		o.asking, o.actErr = false, err
		first := o.asked.at.IsZero()
		if err == nil {
			o.asked = got
		}
		o.mu.Unlock()
		if first {
			o.scaler.changed(o)
		}
	})
}

// settle makes settings anew when a source reads other metrics than before.
func (o *object) settle() {
	if o.set != nil && sameMetrics(o.set.Metrics, o.sources, o.snaps) {
		return
	}
	set := *o.base
	set.Metrics = nil
	for i, src := range o.sources {
		set.Metrics = append(set.Metrics, metricsOf(src.config, o.snaps[i].metrics)...)
	}
	o.set = &set
}

func sameMetrics(have []decision.Metric, sources []*source, snaps []snapshot) bool {
	n := 0
	for i := range sources {
		metrics := snaps[i].metrics
		if len(metrics) == 0 {
			n++ // stands for one that is not known yet
			continue
		}
		for _, m := range metrics {
			if n >= len(have) || have[n].Name != m.Name || have[n].Target != m.Target || have[n].Kind != kindOf(m.Type) {
				return false
			}
			n++
		}
	}
	return n == len(have)
}

// demandAt is when the demand was observed that the plan answers: what wakes a workload at zero is the request that
// waits, whatever else asks for a pod by then.
func (o *object) demandAt(now time.Time) time.Time {
	waits := o.plan.From == 0 && now.Sub(o.heldAt) < heldFor
	switch i := o.plan.Metric; {
	case waits, i == decision.FromHeldRequest:
		return o.heldSince
	case !o.excess.IsZero():
		return o.excess
	case i >= 0 && i < len(o.readings):
		return o.readings[i].At
	}
	return time.Time{}
}

// usesRequests says that a trigger reads the gateway.
func usesRequests(sources []*source) bool {
	for _, src := range sources {
		if src.config.Type == trigger.TypeRequests {
			return true
		}
	}
	return false
}
