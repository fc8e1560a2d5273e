package decision

import "math"

// recommend puts a number of pods into both stabilisation windows and returns the lowest and highest within them.
func (d *deciding) recommend(pods int32) (lowest, highest recommendation) {
	r := recommendation{d.now, pods}
	lowest = d.st.lowest.add(r, d.now-moment(d.set.Up.Stabilization))
	highest = d.st.highest.add(r, d.now-moment(d.set.Down.Stabilization))
	return lowest, highest
}

// stabilise holds a change back until all recommendations of its direction's window ask for it.
func (d *deciding) stabilise(wanted int32) int32 {
	lowest, highest := d.recommend(wanted)
	stable := d.f.Replicas
	if stable < lowest.pods {
		stable = lowest.pods
	}
	if stable > highest.pods {
		stable = highest.pods
	}
	switch {
	case stable < wanted:
		d.limit(LimitStableUp, lowest.at+moment(d.set.Up.Stabilization))
	case stable > wanted:
		d.limit(LimitStableDown, highest.at+moment(d.set.Down.Stabilization))
	}
	if since := momentOf(d.st.LastUp); stable < d.f.Replicas && since > 0 {
		if until := since + moment(d.set.Down.Stabilization); until > d.now {
			stable = d.f.Replicas
			d.limit(LimitStableDown, until)
		}
	}
	return stable
}

// bound applies policies, then bounds. A number that is out of bounds already is brought back at once.
func (d *deciding) bound(pods, low int32) int32 {
	cur := d.f.Replicas
	high := max(d.set.Max, low)
	switch {
	case pods > cur:
		pods = d.boundUp(pods, cur, low)
	case pods < cur:
		pods = d.boundDown(pods, cur, high)
	}
	if pods > high {
		pods = high
		d.limit(LimitMax, 0)
	}
	if pods < low {
		pods = low
		d.limit(LimitMin, 0)
	} else if pods == low && d.plan.Wanted < low && d.plan.Limit == LimitNone {
		d.limit(LimitMin, 0)
	}
	return pods
}

// confirm holds a step up back, for a short window at most, while the newest value asks for more than the demand does:
// what rises is about to be confirmed, and the mean, or the part of a second in which the rise began, would make two
// steps of one.
func (d *deciding) confirm() {
	cur := d.f.Replicas
	if d.plan.Replicas <= cur {
		d.st.rising = 0
		return
	}
	if d.st.rising == 0 {
		d.st.rising = d.now
	}
	if d.set.Formula != nil || d.plan.Limit == LimitMax {
		return
	}
	for i := range d.set.Metrics {
		if until := d.st.rising + moment(d.set.Metrics[i].Short); until > d.now && d.rises(i) {
			d.plan.Replicas = cur
			d.limit(LimitStableUp, until)
		}
	}
}

// rises says whether the newest value of a metric asks for more pods than all demands do.
func (d *deciding) rises(i int) bool {
	out := &d.st.metrics[i]
	if out.Unread || out.Fallback {
		return false
	}
	m, newest := &d.set.Metrics[i], d.f.Readings[i].Value
	return newest > out.Demand*(1+d.set.Up.Tolerance) && d.pods(m, newest) > d.plan.Wanted
}

func (d *deciding) boundUp(pods, cur, low int32) int32 {
	if cur < low {
		return pods // below the bounds no policy counts
	}
	if most, at := d.most(cur); pods > most {
		d.limit(LimitRateUp, at)
		return most
	}
	return pods
}

func (d *deciding) boundDown(pods, cur, high int32) int32 {
	if cur > high {
		return pods
	}
	if least, at := d.least(cur); pods < least {
		d.limit(LimitRateDown, at)
		return least
	}
	return pods
}

// most is how many pods the policies allow now, and when they may allow more.
func (d *deciding) most(cur int32) (int32, moment) {
	rules := &d.set.Up
	if rules.Select == SelectDisabled {
		return cur, 0
	}
	if len(rules.Policies) == 0 {
		return math.MaxInt32, 0
	}
	best := int64(math.MinInt32)
	if rules.Select == SelectMin {
		best = math.MaxInt32
	}
	for _, p := range rules.Policies {
		start := d.startOf(p, cur)
		allowed := start + int64(p.Value)
		if p.Percent {
			allowed = int64(ceil(float64(start) * (1 + float64(p.Value)/100)))
		}
		best = pick(rules.Select == SelectMin, best, allowed)
	}
	return int32(min(max(best, int64(cur)), math.MaxInt32)), d.refill(d.st.ups, rules.Policies)
}

// least is how few pods the policies allow now, and when they may allow fewer.
func (d *deciding) least(cur int32) (int32, moment) {
	rules := &d.set.Down
	if rules.Select == SelectDisabled {
		return cur, 0
	}
	if len(rules.Policies) == 0 {
		return 0, 0
	}
	best := int64(math.MaxInt32)
	if rules.Select == SelectMin {
		best = math.MinInt32
	}
	for _, p := range rules.Policies {
		start := d.startOf(p, cur)
		allowed := start - int64(p.Value)
		if p.Percent {
			allowed = int64(float64(start) * (1 - float64(p.Value)/100))
		}
		best = pick(rules.Select != SelectMin, best, allowed)
	}
	return int32(max(min(best, int64(cur)), 0)), d.refill(d.st.downs, rules.Policies)
}

// startOf is how many pods there were when the period of a policy began.
func (d *deciding) startOf(p Policy, cur int32) int64 {
	cut := d.now - moment(p.Period)
	return int64(cur) - int64(d.st.ups.since(cut)) + int64(d.st.downs.since(cut))
}

func pick(lowest bool, a, b int64) int64 {
	if lowest {
		return min(a, b)
	}
	return max(a, b)
}

// refill is the next time at which a change leaves the period of a policy.
func (d *deciding) refill(c changes, policies []Policy) moment {
	var next moment
	for _, e := range c {
		for _, p := range policies {
			if at := e.at + moment(p.Period); at > d.now && (next == 0 || at < next) {
				next = at
			}
		}
	}
	return next
}

// keep lets pauses, sources that cannot be read and failing callers keep what the plan would change.
func (d *deciding) keep() {
	cur, p := d.f.Replicas, &d.set.Pause
	if d.plan.Wanted >= cur || d.f.CallersKnown && d.f.Failing == nil {
		d.st.heldSince, d.st.heldCaller = 0, ""
	}
	if d.plan.Replicas > cur && p.Out {
		d.stay(cur, LimitPausedOut, 0)
	}
	if d.plan.Replicas < cur && p.In {
		d.stay(cur, LimitPausedIn, 0)
		return
	}
	if most := min(cur, max(d.set.Max, d.set.Min, 1)); d.plan.Wanted < most {
		if d.plan.Unread && d.plan.Replicas < most {
			d.stay(most, LimitUnread, 0)
		}
		if d.f.Failing != nil {
			d.hold(most)
		}
	}
}

func (d *deciding) stay(pods int32, l Limit, until moment) {
	d.plan.Replicas = pods
	d.limit(l, until)
}

// hold keeps the pods while a caller fails, but not for longer than the settings say. What is held counts as recommended,
// so that the stabilisation period begins anew when the hold ends: the caller's demand comes back.
func (d *deciding) hold(pods int32) {
	if d.st.heldCaller != d.f.Failing.Caller {
		d.st.heldSince, d.st.heldCaller = d.now, d.f.Failing.Caller
	}
	until := d.st.heldSince + moment(d.set.MaxHold)
	if until <= d.now {
		return
	}
	d.stay(pods, LimitHold, until)
	d.plan.Failing = d.f.Failing
	d.recommend(pods)
}
