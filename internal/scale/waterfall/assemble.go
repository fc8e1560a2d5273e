package waterfall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/words"
)

const (
	// routeWait is how long a ready pod may wait for a data plane before none is expected to lead to it.
	routeWait = 10 * time.Second
	// answerWait is how long a routed pod may wait for a request.
	answerWait = time.Minute
	// giveUp is how long a scale-up may take in all.
	giveUp = 15 * time.Minute
	// mostPods is how many new pods of one scale-up are followed.
	mostPods = 50
)

// Assemble puts a scale-up together from what was seen until now. It is pure.
func Assemble(a Act, pods []Pod, now time.Time) Scaleup {
	s := Scaleup{Act: a, Pods: pods, Stages: stages(a, leader(pods), now)}
	s.Over, s.Next = settled(a, pods, now)
	s.Stands = stands(a, pods, s.Over, now)
	if s.Over {
		s.Next = time.Time{}
		s.Stages = slices.DeleteFunc(s.Stages, func(st Stage) bool { return st.Running })
	}
	return s
}

// wanted is how many new pods a scale-up is about.
func wanted(a Act) int { return int(min(a.To-a.From, mostPods)) }

// leader is the pod that is furthest: the one that answered first, else the first of those in the latest stage.
func leader(pods []Pod) Pod {
	if len(pods) == 0 {
		return Pod{}
	}
	return slices.MinFunc(pods, func(a, b Pod) int {
		at, as := a.reached()
		bt, bs := b.reached()
		return cmp.Or(cmp.Compare(bs, as), at.Compare(bt))
	})
}

// reached is how far the pod is, 0 to 7, and since when. One that is gone without an answer counts least.
func (p Pod) reached() (at time.Time, stage int) {
	for i, t := range []time.Time{p.Answered, p.Routed, p.Ready, p.Started, p.Bound, p.Created} {
		if !t.IsZero() {
			if !p.Gone.IsZero() && i > 0 {
				return t, 0
			}
			return t, 7 - i
		}
	}
	return time.Time{}, 0
}

// stages are the stages up to the first that has not ended, which runs until now.
func stages(a Act, p Pod, now time.Time) []Stage {
	ends := ends(a, p)
	from := a.Demand
	if from.IsZero() || from.After(a.Decided) {
		from = a.Decided
	}
	var out []Stage
	for i, name := range stageNames {
		if ends[i].IsZero() {
			return append(out, Stage{Name: name, Duration: max(0, now.Sub(from)), Running: true})
		}
		to := ends[i]
		if to.Before(from) {
			to = from
		}
		out = append(out, Stage{Name: name, Duration: to.Sub(from)})
		from = to
	}
	return out
}

// ends is when each stage ended, none after one that follows it.
func ends(a Act, p Pod) [len(stageNames)]time.Time {
	placed, node := p.Bound, p.Bound
	if !p.Unplaced.IsZero() {
		placed = p.Unplaced
	}
	e := [len(stageNames)]time.Time{a.Decided, a.Acted, placed, node, p.Started, p.Ready, p.Routed, p.Answered}
	for i := len(e) - 2; i >= 0; i-- {
		if next := e[i+1]; !next.IsZero() && (e[i].IsZero() || e[i].After(next)) {
			e[i] = next
		}
	}
	return e
}

// settled says whether nothing more is waited for, else when to look again.
func settled(a Act, pods []Pod, now time.Time) (over bool, next time.Time) {
	if a.Acted.IsZero() {
		next = a.Decided.Add(giveUp)
		return !now.Before(next), next
	}
	next = a.Acted.Add(giveUp)
	if !now.Before(next) {
		return true, time.Time{}
	}
	open := max(0, wanted(a)-len(pods))
	for _, p := range pods {
		until, waits := p.waits()
		if !waits || (!until.IsZero() && !now.Before(until)) {
			continue
		}
		open++
		if !until.IsZero() && until.Before(next) {
			next = until
		}
	}
	return open == 0, next
}

// waits says whether something is expected of the pod, and until when; zero: as long as it takes.
func (p Pod) waits() (until time.Time, waits bool) {
	switch {
	case !p.Answered.IsZero(), !p.Gone.IsZero():
		return time.Time{}, false
	case !p.Routed.IsZero():
		return p.Routed.Add(answerWait), true
	case !p.Ready.IsZero():
		return p.Ready.Add(routeWait), true
	}
	return time.Time{}, true
}

// stands says in one sentence how far the scale-up is, or how it ended.
func stands(a Act, pods []Pod, over bool, now time.Time) string {
	if a.Acted.IsZero() {
		return "the API server has not accepted it yet"
	}
	g := count(pods)
	n := wanted(a)
	parts := []string{fmt.Sprintf("%d of %d new pods answered", g.answered, n)}
	if g.answered > 0 {
		first, last := answers(a, pods)
		if g.answered == 1 {
			parts[0] += " after " + seconds(first)
		} else {
			parts[0] += fmt.Sprintf(", the first after %s, the last after %s", seconds(first), seconds(last))
		}
	}
	if g.routed > 0 {
		parts = append(parts, fmt.Sprintf("%d ready and routed, without a request yet", g.routed))
	}
	if g.ready > 0 {
		parts = append(parts, fmt.Sprintf("%d ready, and no route leads there", g.ready))
		if !over {
			parts[len(parts)-1] = fmt.Sprintf("%d ready, not yet routed", g.ready)
		}
	}
	if g.gone > 0 {
		parts = append(parts, fmt.Sprintf("%d removed before", g.gone))
	}
	parts = append(parts, g.troubles()...)
	if missing := n - len(pods); missing > 0 {
		parts = append(parts, fmt.Sprintf("%d not made", missing))
	}
	if over && now.Sub(a.Acted) >= giveUp {
		parts = append(parts, "not waited for longer than "+words.Span(giveUp))
	}
	return strings.Join(parts, "; ")
}

// answers is how long after the demand the first and the last pod answered.
func answers(a Act, pods []Pod) (first, last time.Duration) {
	from := a.Demand
	if from.IsZero() || from.After(a.Decided) {
		from = a.Decided
	}
	for _, p := range pods {
		if p.Answered.IsZero() {
			continue
		}
		took := p.Answered.Sub(from)
		if first == 0 || took < first {
			first = took
		}
		last = max(last, took)
	}
	return first, last
}

// groups is how many pods are where.
type groups struct {
	answered, routed, ready, gone int
	// stuck is how many are before ready, by what keeps them.
	stuck map[string]int
}

func count(pods []Pod) groups {
	g := groups{stuck: map[string]int{}}
	for _, p := range pods {
		switch {
		case !p.Answered.IsZero():
			g.answered++
		case !p.Gone.IsZero():
			g.gone++
		case !p.Routed.IsZero():
			g.routed++
		case !p.Ready.IsZero():
			g.ready++
		default:
			g.stuck[p.position()]++
		}
	}
	return g
}

// troubles names the pods before ready and what keeps them, the most first.
func (g groups) troubles() []string {
	var out []string
	for what := range g.stuck {
		out = append(out, what)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(g.stuck[b], g.stuck[a]), cmp.Compare(a, b)) })
	for i, what := range out {
		out[i] = fmt.Sprintf("%d %s", g.stuck[what], what)
	}
	return out
}

// position is where a pod before ready is, and why if that is known.
func (p Pod) position() string {
	at := "without a node"
	switch {
	case !p.Started.IsZero():
		at = "running, not ready"
	case !p.Bound.IsZero():
		at = "starting"
	}
	if p.Trouble == "" {
		return at
	}
	return at + ": " + p.Trouble
}

// seconds is a duration as people compare them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
