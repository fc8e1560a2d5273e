package decision

import (
	"math"
	"time"
)

// Decide says how many pods the workload should have now. It changes nothing but st, and may be called again with the
// same facts: the answer is the same. When the plan was carried out, State.Scaled is to be told.
func Decide(set *Settings, st *State, f *Facts) Plan {
	st.adopt(set)
	d := deciding{set: set, st: st, f: f, now: momentOf(f.Now)}
	d.plan = Plan{Replicas: f.Replicas, From: f.Replicas, Metric: FromNothing, Metrics: st.metrics}
	d.measure()
	d.activity()
	d.plan.Wanted = d.wanted()
	switch {
	case set.Pause.All || set.Pause.Replicas != nil:
		d.paused()
	case d.resting():
		d.rest()
	default:
		d.work()
	}
	return d.plan
}

// deciding is one decision under way.
type deciding struct {
	set  *Settings
	st   *State
	f    *Facts
	now  moment
	plan Plan
}

// measure turns readings into demands and pods.
func (d *deciding) measure() {
	for i := range d.set.Metrics {
		m, out := &d.set.Metrics[i], &d.st.metrics[i]
		*out = MetricPlan{Unread: true}
		if i >= len(d.f.Readings) {
			d.plan.Unread = true
			continue
		}
		r := &d.f.Readings[i]
		if !r.At.IsZero() {
			out.Demand = d.demand(i, m, r)
			out.Pods = d.pods(m, out.Demand)
			out.Active = r.Active && !m.Resource
			out.Unread = false
		}
		if !r.FailingSince.IsZero() {
			d.fail(m, r, out)
		}
		d.plan.Unread = d.plan.Unread || out.Unread
		d.plan.Fallback = d.plan.Fallback || out.Fallback
	}
}

// demand is the value of a metric that counts.
func (d *deciding) demand(i int, m *Metric, r *Reading) float64 {
	value := r.Value
	if math.IsNaN(value) || value < 0 {
		value = 0
	}
	if m.Short == 0 && m.Long == 0 {
		return value
	}
	// A percentage of what other numbers of pods reserved is no percentage of what these do: windows hold what was used.
	pods := 1.0
	if m.Kind == Utilization {
		pods = float64(max(d.existing(), 1))
	}
	at := momentOf(r.At)
	w := &d.st.windows[i]
	w.add(sample{at, value * pods}, at-moment(max(m.Long, m.Short)))
	if m.Long == 0 {
		return w.lowest(at-moment(m.Short)) / pods
	}
	return w.demand(at-moment(m.Short)) / pods
}

// fail says what counts for a metric that cannot be read: its last value, which is in out already, or the fallback.
func (d *deciding) fail(m *Metric, r *Reading, out *MetricPlan) {
	period := d.set.FailurePeriod
	if period <= 0 {
		period = DefaultFailurePeriod
	}
	since := max(0, d.now-momentOf(r.FailingSince))
	out.Failures = int32(min(1+since/moment(period), math.MaxInt32))
	out.Unread = true
	fb := d.set.Fallback
	if fb == nil || m.Resource {
		return
	}
	if out.Failures <= fb.Threshold {
		d.look(momentOf(r.FailingSince) + moment(fb.Threshold)*moment(period))
		return
	}
	out.Unread, out.Fallback = false, true
	out.Pods = d.fallback()
	out.Active = out.Pods > 0
}

// fallback is the number of pods that stands in for what cannot be read.
func (d *deciding) fallback() int32 {
	fb := d.set.Fallback
	switch fb.Behavior {
	case Current:
		return d.f.Replicas
	case CurrentIfHigher:
		return max(d.f.Replicas, fb.Replicas)
	case CurrentIfLower:
		return min(d.f.Replicas, fb.Replicas)
	}
	return fb.Replicas
}

// pods is how many a demand asks for; see the package comment for the sources.
func (d *deciding) pods(m *Metric, demand float64) int32 {
	if m.Target <= 0 {
		return 0
	}
	cur := d.f.Replicas
	switch m.Kind {
	case Whole:
		return d.wholePods(demand/m.Target, d.f.Ready)
	case Utilization:
		return d.wholePods(demand/m.Target, d.existing())
	}
	if cur > 0 && d.tolerated(demand/(m.Target*float64(cur))) {
		return cur
	}
	return ceil(demand / m.Target)
}

// existing is how many pods a utilisation speaks of.
func (d *deciding) existing() int32 {
	if d.f.Pods > 0 {
		return d.f.Pods
	}
	return d.f.Replicas
}

// wholePods is the number of pods for the share of the target that counted pods are at. Where pods are missing, so that
// the number would move against the share, it stays.
func (d *deciding) wholePods(share float64, counted int32) int32 {
	cur := d.f.Replicas
	if cur == 0 {
		return ceil(share)
	}
	if counted == 0 || d.tolerated(share) {
		return cur
	}
	pods := ceil(share * float64(counted))
	if share > 1 {
		return max(pods, cur)
	}
	return min(pods, cur)
}

// tolerated says that a share of the target is too near to 1 to change anything.
func (d *deciding) tolerated(share float64) bool {
	return share <= 1+d.set.Up.Tolerance && share >= 1-d.set.Down.Tolerance
}

// ceil rounds up, but not for what lies above a whole number by rounding alone, within the range of a number of pods.
func ceil(v float64) int32 {
	switch c := math.Ceil(v * (1 - 1e-9)); {
	case !(c > 0):
		return 0
	case c >= math.MaxInt32:
		return math.MaxInt32
	default:
		return int32(c)
	}
}

// wanted is the highest number that a metric asks for; the present one if nothing is known.
func (d *deciding) wanted() int32 {
	wanted, known := int32(0), false
	take := func(i int, pods int32, demand, target float64) {
		if !known || pods > wanted {
			wanted, known = pods, true
			d.plan.Metric, d.plan.Demand, d.plan.Target = i, demand, target
		}
	}
	if d.set.Formula != nil {
		d.compose(take)
	}
	for i := range d.st.metrics {
		m := &d.st.metrics[i]
		if d.set.Formula != nil && !d.set.Metrics[i].Resource || m.Unread && d.f.unknown(i) {
			continue
		}
		take(i, m.Pods, m.Demand, d.set.Metrics[i].Target)
	}
	if d.f.Held && wanted < 1 {
		take(FromHeldRequest, 1, 1, 1)
	}
	if !known {
		return d.f.Replicas
	}
	return wanted
}

// unknown says that a metric has never been read.
func (f *Facts) unknown(i int) bool { return i >= len(f.Readings) || f.Readings[i].At.IsZero() }

// compose gives the formula's result, or the fallback where it counts for one of its metrics.
func (d *deciding) compose(take func(int, int32, float64, float64)) {
	f := d.set.Formula
	if d.plan.Fallback && d.set.Fallback.Behavior != InFormula {
		take(FromFormula, d.fallback(), 0, f.Target)
		return
	}
	value, ok, err := f.run(d)
	switch {
	case err != nil:
		d.plan.FormulaError, d.plan.Unread = err, true
	case !ok && d.set.Fallback != nil:
		d.plan.Fallback = true
		d.plan.Active = d.plan.Active || d.set.Fallback.Replicas > 0
		take(FromFormula, d.set.Fallback.Replicas, 0, f.Target)
	case !ok:
		d.plan.FormulaError, d.plan.Unread = errNil, true
	default:
		take(FromFormula, d.pods(&Metric{Kind: f.Kind, Target: f.Target}, value), value, f.Target)
		d.plan.Active = d.set.ForceActive || d.f.Held || value > f.Activation
		d.remember()
	}
}

// activity says whether there is work.
func (d *deciding) activity() {
	active, resourceOnly := d.set.ForceActive || d.f.Held, true
	for i := range d.st.metrics {
		active = active || d.st.metrics[i].Active
		resourceOnly = resourceOnly && d.set.Metrics[i].Resource
	}
	d.plan.Active = active || resourceOnly && len(d.set.Metrics) > 0
	if d.set.Formula == nil || d.plan.Fallback {
		d.remember()
	}
}

func (d *deciding) remember() {
	if d.plan.Active {
		d.st.LastActive = d.f.Now
	}
}

// look asks for another decision at a time in the future.
func (d *deciding) look(at moment) {
	if at <= d.now {
		return
	}
	if t := at.time(); d.plan.Next.IsZero() || t.Before(d.plan.Next) {
		d.plan.Next = t
	}
}

// limit notes what keeps the plan from what is wanted, and until when.
func (d *deciding) limit(l Limit, until moment) {
	d.plan.Limit, d.plan.Until = l, time.Time{}
	if until > d.now {
		d.plan.Until = until.time()
		d.look(until)
	}
}

func (d *deciding) paused() {
	d.limit(LimitPaused, 0)
	if r := d.set.Pause.Replicas; r != nil {
		d.plan.Replicas = max(*r, 0)
	}
	d.recommend(d.plan.Replicas)
}

// resting says that there is no work and that the workload may do without most of its pods.
func (d *deciding) resting() bool {
	return !d.plan.Active && (d.set.Idle != nil || d.set.Min == 0)
}

// floor is the number of pods of a workload that rests.
func (d *deciding) floor() int32 {
	if d.set.Idle != nil {
		return *d.set.Idle
	}
	return 0
}

// rest brings a workload without work to its floor, once it has cooled down and all its sources can be read.
func (d *deciding) rest() {
	cur, floor := d.f.Replicas, d.floor()
	if cur <= floor {
		d.plan.Wanted, d.plan.Metric = floor, FromNothing
		d.recommend(floor)
		d.plan.Replicas = floor
		d.keep()
		return
	}
	if until := d.cooled(); until > d.now || d.plan.Unread {
		d.work()
		sooner := d.plan.Limit <= LimitMin || momentOf(d.plan.Until) > until
		if d.plan.Replicas == cur && sooner && !d.plan.Unread {
			d.limit(LimitCooldown, until)
		}
		d.look(until)
		return
	}
	d.plan.Wanted, d.plan.Metric = floor, FromNothing
	d.recommend(floor)
	d.plan.Replicas = floor
	d.keep()
}

// cooled is when a workload without work may rest.
func (d *deciding) cooled() moment {
	if d.st.LastActive.IsZero() {
		return momentOf(d.set.Created.Add(d.set.InitialCooldown))
	}
	return momentOf(d.st.LastActive.Add(d.set.Cooldown))
}

// work follows the demand of a workload that has work, or may not rest.
func (d *deciding) work() {
	low := max(d.set.Min, 1)
	if d.f.Replicas < low {
		d.wake(low)
		return
	}
	d.plan.Replicas = d.bound(d.stabilise(max(d.plan.Wanted, 1)), low)
	d.confirm()
	d.keep()
}

// wake brings a workload below its bounds to what the demand asks for. Where the object bounds how fast pods are added,
// the first step is the lowest number, as in KEDA, and the bounds count from there.
func (d *deciding) wake(low int32) {
	d.recommend(d.plan.Wanted)
	pods := max(d.plan.Wanted, low)
	if len(d.set.Up.Policies) > 0 || d.set.Up.Stabilization > 0 {
		pods = low
	}
	if high := max(d.set.Max, low); pods > high {
		pods = high
		d.limit(LimitMax, 0)
	}
	if pods > d.plan.Wanted && pods == d.set.Min {
		d.limit(LimitMin, 0)
	}
	d.plan.Replicas = pods
	d.keep()
}
