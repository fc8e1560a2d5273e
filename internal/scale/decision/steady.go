package decision

// Steady says that Decide would leave the workload as it is, with nothing that limits it and no time to look again, and
// remembers what Decide would. Where it says no it may miss that, and Decide is to be called with the same facts. It is
// the short way of replays, in which nearly every second is such a one.
func Steady(set *Settings, st *State, f *Facts) bool {
	low := max(set.Min, 1)
	if f.Held || f.Replicas < low || f.Replicas > max(set.Max, low) || set.Formula != nil || set.Pause != (Pause{}) {
		return false
	}
	if len(set.Metrics) == 0 || len(f.Readings) < len(set.Metrics) {
		return false
	}
	st.adopt(set)
	d := deciding{set: set, st: st, f: f, now: momentOf(f.Now)}
	wanted, active, ok := d.read()
	if !ok || wanted != f.Replicas || !active && (set.Idle != nil || set.Min == 0) {
		return false
	}
	if active {
		st.LastActive = f.Now
	}
	st.heldSince, st.heldCaller = 0, ""
	d.recommend(wanted)
	return true
}

// read is how many pods the metrics ask for and whether there is work; false if one cannot be read.
func (d *deciding) read() (wanted int32, active, ok bool) {
	active, resourceOnly := d.set.ForceActive, true
	for i := range d.set.Metrics {
		m, r := &d.set.Metrics[i], &d.f.Readings[i]
		if r.At.IsZero() || !r.FailingSince.IsZero() {
			return 0, false, false
		}
		wanted = max(wanted, d.pods(m, d.demand(i, m, r)))
		active = active || r.Active && !m.Resource
		resourceOnly = resourceOnly && m.Resource
	}
	return wanted, active || resourceOnly, true
}
