package scale

import (
	"context"
	"fmt"
	"strings"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/decision"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The reasons of conditions, KEDA's where it has one.
const (
	reasonReady         = "ScaledObjectReady"
	reasonCheckFailed   = "ScaledObjectCheckFailed"
	reasonConflict      = "Conflict"
	reasonTriggerError  = "TriggerError"
	reasonPartialError  = "PartialTriggerError"
	reasonScalingError  = "ErrorScalingTarget"
	reasonFormulaError  = "FormulaError"
	reasonActive        = "ScalerActive"
	reasonNotActive     = "ScalerNotActive"
	reasonCooldown      = "ScalerCooldown"
	reasonFallback      = "FallbackExists"
	reasonNoFallback    = "NoFallbackFound"
	reasonPaused        = "ScaledObjectPaused"
	reasonNotPaused     = "ScaledObjectUnpaused"
	reasonAtRest        = "AtRest"
	reasonNotAtRest     = "Running"
	reasonCallerFailing = "CallerFailing"
	reasonNotHeld       = "NoCallerFailing"
)

// fixedStatus is what reconciling knows of an object's status.
type fixedStatus struct {
	status     kedav1alpha1.ScaledObjectStatus
	lastActive time.Time
	// notes name what the object asks for without effect.
	notes []string
}

// shown is what the written status says, as far as it changes: a status is written when it differs.
type shown struct {
	active, cooling, fallback, unread, paused, resting bool
	held, errors                                       string
	activity, failing                                  uint64
	metrics                                            int
	activeAt                                           time.Time
}

// showEvery is how often lastActiveTime is written while there is work.
const showEvery = 5 * time.Minute

// report asks for the status to be written if it says something else than before, and once for each spec: what was asked
// for before may not have been written. The caller holds mu.
func (o *object) report(now time.Time) {
	s := o.summary()
	s.activeAt = o.shown.activeAt
	if s.active && (!o.shown.active || now.Sub(s.activeAt) > showEvery) || o.shown.active && !s.active {
		s.activeAt = now
	}
	if s == o.shown && o.reported {
		return
	}
	o.announceStates(o.shown, s)
	o.shown, o.reported = s, true
	o.scaler.reports.queue.Add(key{kindScaledObject, o.name})
}

func (o *object) summary() shown {
	p := &o.plan
	s := shown{
		active: p.Active, cooling: p.Limit == decision.LimitCooldown, fallback: p.Fallback, unread: p.Unread,
		paused: p.Limit == decision.LimitPaused, resting: o.resting(), metrics: len(p.Metrics),
	}
	if p.Limit == decision.LimitHold && p.Failing != nil {
		s.held = p.Failing.Caller + " " + p.Failing.Why
	}
	for i := range p.Metrics {
		if p.Metrics[i].Active {
			s.activity |= 1 << (i % 64)
		}
		if p.Metrics[i].Failures > 0 {
			s.failing |= 1 << (i % 64)
		}
	}
	s.errors = o.errors()
	return s
}

// resting says that the workload is at zero or at its idle count, for want of work.
func (o *object) resting() bool {
	floor := int32(0)
	if o.base.Idle != nil {
		floor = *o.base.Idle
	}
	return !o.plan.Active && o.plan.Replicas <= floor
}

// borne is how many failures of a source in a row are no news.
const borne = 2

// errors are those of sources that failed more than once, of the formula and of scaling, in one text.
func (o *object) errors() string {
	var all []string
	for i, snap := range o.snaps {
		if snap.err != nil && snap.failures >= borne {
			all = append(all, fmt.Sprintf("trigger %d (%s): %s", i, o.sources[i].config.Type, snap.err))
		}
	}
	if o.plan.FormulaError != nil {
		all = append(all, o.plan.FormulaError.Error())
	}
	if o.actErr != nil {
		all = append(all, o.actErr.Error())
	}
	return strings.Join(all, "; ")
}

// status is the whole status; false before the first decision, when there is nothing to say yet.
func (o *object) status() (kedav1alpha1.ScaledObjectStatus, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.decided {
		return kedav1alpha1.ScaledObjectStatus{}, false
	}
	st := *o.fixed.status.DeepCopy()
	o.metricStatus(&st)
	if at := o.st.LastActive; !at.IsZero() {
		st.LastActiveTime = &metav1.Time{Time: at.Truncate(time.Second)}
	}
	st.PausedReplicaCount = o.base.Pause.Replicas
	for _, c := range []kedav1alpha1.Condition{
		o.readyCondition(), o.activeCondition(), o.fallbackCondition(), o.pausedCondition(), o.restCondition(), o.heldCondition(),
	} {
		st.Conditions.Set(c)
	}
	return st, true
}

// metricStatus fills in names, health and activity.
func (o *object) metricStatus(st *kedav1alpha1.ScaledObjectStatus) {
	st.ExternalMetricNames, st.ResourceMetricNames = nil, nil
	st.Health, st.TriggersActivity = map[string]kedav1alpha1.HealthStatus{}, map[string]kedav1alpha1.TriggerActivityStatus{}
	for i, m := range o.set.Metrics {
		if i >= len(o.plan.Metrics) {
			break
		}
		p := o.plan.Metrics[i]
		health := kedav1alpha1.HealthStatus{NumberOfFailures: new(p.Failures), Status: kedav1alpha1.HealthHappy}
		if p.Failures > 0 {
			health.Status = kedav1alpha1.HealthFailing
		}
		st.Health[m.Name] = health
		if m.Resource {
			st.ResourceMetricNames = append(st.ResourceMetricNames, m.Name[strings.IndexByte(m.Name, '-')+1:])
			continue
		}
		st.ExternalMetricNames = append(st.ExternalMetricNames, m.Name)
		st.TriggersActivity[m.Name] = kedav1alpha1.TriggerActivityStatus{IsActive: p.Active}
	}
	if o.set.Formula != nil {
		st.CompositeScalerName = compositeMetric
	}
}

// compositeMetric is KEDA's name of a formula's result.
const compositeMetric = "composite-metric"

func condition(kind string, is bool, yes, no, yesMessage, noMessage string) kedav1alpha1.Condition {
	if is {
		return kedav1alpha1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: yes, Message: yesMessage}
	}
	return kedav1alpha1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: no, Message: noMessage}
}

func (o *object) readyCondition() kedav1alpha1.Condition {
	c := kedav1alpha1.Condition{Type: kedav1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reasonReady}
	errors := o.shown.errors
	switch {
	case o.actErr != nil:
		c.Status, c.Reason = metav1.ConditionFalse, reasonScalingError
	case o.plan.FormulaError != nil:
		c.Status, c.Reason = metav1.ConditionFalse, reasonFormulaError
	case errors != "" && !o.plan.Fallback && o.plan.Active:
		c.Status, c.Reason = metav1.ConditionUnknown, reasonPartialError
	case errors != "" && !o.plan.Fallback:
		c.Status, c.Reason = metav1.ConditionFalse, reasonTriggerError
	}
	if c.Status != metav1.ConditionTrue {
		c.Message = errors + ". No pod is taken away until this is mended"
		return c
	}
	c.Message = fmt.Sprintf("%s %q is scaled by its triggers", o.target.gvk.Kind, o.target.name)
	if errors != "" {
		c.Message += "; the fallback stands in: " + errors
	}
	if len(o.fixed.notes) > 0 {
		c.Message += "; without effect: " + strings.Join(o.fixed.notes, "; ")
	}
	return c
}

func (o *object) activeCondition() kedav1alpha1.Condition {
	c := condition(kedav1alpha1.ConditionActive, o.plan.Active, reasonActive, reasonNotActive,
		"a trigger sees work", "no trigger sees work")
	if o.plan.Limit == decision.LimitCooldown {
		c.Reason, c.Message = reasonCooldown, fmt.Sprintf("no trigger sees work; the workload rests at %s UTC", o.plan.Until.UTC().Format(time.TimeOnly))
	}
	return c
}

func (o *object) fallbackCondition() kedav1alpha1.Condition {
	return condition(kedav1alpha1.ConditionFallback, o.plan.Fallback, reasonFallback, reasonNoFallback,
		"the fallback stands in for a source that cannot be read", "every source can be read")
}

func (o *object) pausedCondition() kedav1alpha1.Condition {
	p := o.base.Pause
	message := "no annotation pauses it"
	switch {
	case p.Replicas != nil:
		message = fmt.Sprintf("annotation %q keeps %s; remove it to scale again", kedav1alpha1.AnnotationPausedReplicas, decision.Pods(*p.Replicas))
	case p.All:
		message = fmt.Sprintf("annotation %q keeps the workload as it is; remove it to scale again", kedav1alpha1.AnnotationPaused)
	case p.In:
		message = fmt.Sprintf("annotation %q keeps pods from being taken away", kedav1alpha1.AnnotationPausedScaleIn)
	case p.Out:
		message = fmt.Sprintf("annotation %q keeps pods from being added", kedav1alpha1.AnnotationPausedScaleOut)
	}
	return condition(kedav1alpha1.ConditionPaused, p.All || p.Replicas != nil, reasonPaused, reasonNotPaused, message, message)
}

func (o *object) restCondition() kedav1alpha1.Condition {
	return condition(kedav1alpha1.ConditionHibernated, o.shown.resting, reasonAtRest, reasonNotAtRest,
		"the workload rests for want of work", "the workload runs")
}

func (o *object) heldCondition() kedav1alpha1.Condition {
	message := "no caller of the workload fails"
	if o.shown.held != "" {
		message = fmt.Sprintf("pods are kept while %s, until %s UTC at the latest", o.shown.held, o.plan.Until.UTC().Format(time.TimeOnly))
	}
	return condition(kedav1alpha1.ConditionHeld, o.shown.held != "", reasonCallerFailing, reasonNotHeld, message, message)
}

// writeStatus writes the status of an object, if it differs.
func (s *Scaler) writeStatus(ctx context.Context, k key) error {
	switch sub := s.subject(k).(type) {
	case *object:
		return s.patchObject(ctx, sub)
	case *job:
		return s.patchJob(ctx, sub)
	}
	return nil
}

func (s *Scaler) patchObject(ctx context.Context, o *object) error {
	want, ok := o.status()
	if !ok {
		return nil
	}
	var have kedav1alpha1.ScaledObject
	if err := s.live.Get(ctx, o.name, &have); err != nil {
		return client.IgnoreNotFound(err)
	}
	if have.UID != o.uid {
		return nil
	}
	if first := have.Status.OriginalReplicaCount; first != nil {
		want.OriginalReplicaCount = first // reconciling may not have seen it yet
	}
	return s.patchObjectStatus(ctx, &have, want)
}

func (s *Scaler) patchObjectStatus(ctx context.Context, have *kedav1alpha1.ScaledObject, want kedav1alpha1.ScaledObjectStatus) error {
	if equality.Semantic.DeepEqual(have.Status, want) {
		return nil
	}
	before := have.DeepCopy()
	have.Status = want
	if err := s.client.Status().Patch(ctx, have, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("writing the status of ScaledObject %q: %w", have.Name, client.IgnoreNotFound(err))
	}
	return nil
}
