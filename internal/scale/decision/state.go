package decision

import (
	"slices"
	"time"
)

// State is what is remembered of one workload between decisions. It belongs to one goroutine.
type State struct {
	// LastActive is when there was work last; zero: never. It survives a restart in the object's status.
	LastActive time.Time
	// LastUp is when pods were added last; zero: never.
	LastUp time.Time

	set        *Settings
	names      []string
	windows    []samples
	metrics    []MetricPlan
	lowest     extreme
	highest    extreme
	ups, downs changes
	// rising is since when more pods are wanted than there are; 0: they are not.
	rising     moment
	heldSince  moment
	heldCaller string
}

// NewState begins to remember a workload that has replicas pods. Like the HPA at its start, it counts them as the first
// recommendation, so that a restart takes nothing away before the stabilisation period has passed.
func NewState(now time.Time, replicas int32, lastActive time.Time) *State {
	st := &State{LastActive: lastActive, lowest: extreme{lowest: true}}
	first := recommendation{momentOf(now), replicas}
	st.highest.add(first, 0)
	st.lowest.add(first, 0)
	return st
}

// Scaled notes that the workload was scaled. Decisions after it count the change against the policies.
func (st *State) Scaled(set *Settings, from, to int32, now time.Time) {
	at := momentOf(now)
	switch {
	case to > from:
		st.LastUp, st.rising = now, 0
		st.ups = st.ups.add(change{at, to - from}, at-moment(longest(set.Up.Policies)))
	case to < from:
		st.downs = st.downs.add(change{at, from - to}, at-moment(longest(set.Down.Policies)))
	}
}

// Held says that pods are kept because a caller fails.
func (st *State) Held() bool { return st.heldSince > 0 }

func longest(policies []Policy) time.Duration {
	var d time.Duration
	for _, p := range policies {
		d = max(d, p.Period)
	}
	return d
}

// adopt makes room for the metrics of new settings; a metric that stays keeps its window.
func (st *State) adopt(set *Settings) {
	if st.set == set {
		return
	}
	names := make([]string, len(set.Metrics))
	windows := make([]samples, len(set.Metrics))
	for i, m := range set.Metrics {
		names[i] = m.Name
		if old := slices.Index(st.names, m.Name); old >= 0 {
			windows[i] = st.windows[old]
		}
	}
	st.set, st.names, st.windows = set, names, windows
	st.metrics = make([]MetricPlan, len(set.Metrics))
}
