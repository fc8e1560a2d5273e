package scale

import (
	"context"
	"fmt"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/timeline"
)

// change is one plan that is carried out.
type change struct {
	from, to int32
	reason   string
	demandAt time.Time
	decided  time.Time
}

// act carries the plan out beside the loop. Before pods are taken away the callers of the workload are looked at, which
// the loop has no time for. The caller holds mu.
func (o *object) act(now time.Time) {
	o.acting = true
	c := change{
		from: o.plan.From, to: o.plan.Replicas, reason: o.plan.Reason(o.set), demandAt: o.demandAt(now), decided: now,
	}
	look := o.plan.Replicas < o.plan.From && now.Sub(o.callers.at) > callersEvery || o.st.Held()
	o.scaler.task(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		if look && !o.lookAtCallers(ctx) {
			return
		}
		if c.to != c.from {
			o.carryOut(ctx, c)
		}
		o.mu.Lock()
		o.acting = false
		o.mu.Unlock()
		o.scaler.changed(o)
	})
}

// lookAtCallers says whether the plan may be carried out: not while a caller fails, which is then decided anew.
func (o *object) lookAtCallers(ctx context.Context) bool {
	failing := o.scaler.failingCaller(ctx, o.workload)
	o.mu.Lock()
	o.callers = callersSeen{at: o.scaler.now(), failing: failing}
	if failing != nil {
		o.acting = false
	}
	o.mu.Unlock()
	if failing != nil {
		o.scaler.changed(o)
	}
	return failing == nil
}

func (o *object) carryOut(ctx context.Context, c change) {
	s := o.scaler
	select {
	case s.acts <- struct{}{}:
		defer func() { <-s.acts }()
	case <-ctx.Done():
		return
	}
	acted := s.watcher.Began(waterfall.Act{
		Workload: o.workload, From: c.from, To: c.to, Reason: c.reason, Demand: c.demandAt, Decided: c.decided,
	})
	err := s.setScale(ctx, o.target, c.to)
	acted(err)
	now := s.now()
	o.mu.Lock()
	o.actErr = err
	if err == nil {
		o.st.Scaled(o.set, c.from, c.to, now)
		o.expected = expectation{c.to, now.Add(expectFor)}
		o.asked.replicas, o.last = c.to, c.to
	} else {
		o.retryAt = now.Add(retryAct)
	}
	o.mu.Unlock()
	if err != nil {
		s.log.Warn("workload not scaled", "workload", o.workload.String(), "from", c.from, "to", c.to, "err", err)
		return
	}
	o.record(c)
}

// record tells people of a change. The waterfall records scale-ups, when their pods have answered.
func (o *object) record(c change) {
	o.announce(c)
	if c.to > c.from {
		return
	}
	o.scaler.watcher.ScaledIn(o.workload)
	o.scaler.timeline.Add(timeline.Record{
		Actor: "scale", Action: "scaled down",
		Object: timeline.Object{Kind: o.workload.Kind, Namespace: o.workload.Namespace, Name: o.workload.Name},
		From:   decision.Pods(c.from), To: decision.Pods(c.to), Reason: c.reason,
	})
}

// restored tells that a workload was given its first number of pods back.
func (s *Scaler) restored(o *kedav1alpha1.ScaledObject, t target, from, to int32) {
	action := "scaled down"
	if to > from {
		action = "scaled up"
	}
	s.timeline.Add(timeline.Record{
		Actor: "scale", Action: action,
		Object: timeline.Object{Kind: t.gvk.Kind, Namespace: t.namespace, Name: t.name},
		From:   decision.Pods(from), To: decision.Pods(to),
		Reason: fmt.Sprintf("ScaledObject %q was deleted, and the first number of pods is given back", o.Name),
	})
}
