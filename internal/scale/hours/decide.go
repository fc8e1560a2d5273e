package hours

import (
	"fmt"
	"slices"
	"time"

	"github.com/escale-dev/escale/internal/scale/words"
)

// Facts are what the decision is made on.
type Facts struct {
	// Now is a fact.
	Now time.Time
	// Settings of the workload.
	Settings Settings
	// Created is when the workload was made: its grace period counts from then.
	Created time.Time
	// Replicas is how many the workload asks for; 1 for a CronJob that is not suspended, and Unpaused for a ScaledObject.
	Replicas int32
	// Original is how many it had before it was taken down; nil: it was not.
	Original *int32
}

// Act is what is done to a workload.
type Act int

// The acts.
const (
	// Leave: nothing.
	Leave Act = iota
	// TakeDown: to Plan.Replicas, keeping the present number.
	TakeDown
	// BringUp: to Plan.Replicas, which is what it had.
	BringUp
	// Forget what it had: somebody has scaled it since.
	Forget
)

// Plan is what the decision comes to.
type Plan struct {
	Act      Act
	Replicas int32
	// Up says which of the two it is to be now.
	Up bool
	// Why is the annotation that decides, in words.
	Why string
	// Until is when it will be the other; zero: not foreseen.
	Until time.Time
	// Next is when to look again if nothing changes; zero: never.
	Next time.Time
}

// Decide says what is to be done now. It is pure.
func Decide(f Facts) Plan {
	at := f.Settings.at(f.Now)
	p := Plan{Up: at.up, Why: at.why}
	p.Until = f.Settings.change(f.Now, at)
	p.Next = p.Until
	target := f.Settings.Replicas
	switch {
	case f.Original == nil && !f.Settings.Said, at.ignore:
	case at.up && f.Original == nil:
	case at.up && f.Replicas != target:
		p.Act = Forget
	case at.up:
		p.Act, p.Replicas = BringUp, *f.Original
	case f.Replicas <= target: // it is down
	default:
		if until := f.Created.Add(f.Settings.Grace); f.Now.Before(until) {
			p.Why = fmt.Sprintf("it is new and stays up for its grace period of %s", words.Span(f.Settings.Grace))
			p.Up, p.Until, p.Next = true, earlier(p.Until, until), earlier(p.Next, until)
			return p
		}
		p.Act, p.Replicas = TakeDown, target
	}
	return p
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// verdict is what the settings want at a moment.
type verdict struct {
	up, ignore bool
	why        string
}

// at is what the settings want at t. The order is kube-downscaler's.
func (s Settings) at(t time.Time) verdict {
	switch {
	case t.Before(s.Until):
		return verdict{up: true, why: "excluded until " + s.Until.UTC().Format(time.RFC3339)}
	case slices.ContainsFunc(s.Exclude, func(e Spec) bool { return e.Contains(t) }):
		return verdict{up: true, why: "excluded"}
	case s.ForceUp.contains(t):
		return verdict{up: true, why: fmt.Sprintf("force-uptime %q", s.ForceUp)}
	case s.ForceDown.contains(t):
		return verdict{why: fmt.Sprintf("force-downtime %q", s.ForceDown)}
	case s.UpPeriod != nil || s.DownPeriod != nil:
		return s.period(t)
	case s.Uptime != nil && !s.Uptime.Contains(t):
		return verdict{why: fmt.Sprintf("outside of uptime %q", s.Uptime)}
	case s.Downtime.contains(t):
		return verdict{why: fmt.Sprintf("downtime %q", s.Downtime)}
	case s.Uptime != nil:
		return verdict{up: true, why: fmt.Sprintf("uptime %q", s.Uptime)}
	case s.Downtime != nil:
		return verdict{up: true, why: fmt.Sprintf("outside of downtime %q", s.Downtime)}
	}
	return verdict{up: true, why: "no schedule"}
}

// period is what upscale-period and downscale-period want: nothing outside of both, nor inside of both.
func (s Settings) period(t time.Time) verdict {
	up, down := s.UpPeriod.contains(t), s.DownPeriod.contains(t)
	switch {
	case up == down:
		return verdict{up: true, ignore: true, why: "outside of its upscale and downscale periods"}
	case up:
		return verdict{up: true, why: fmt.Sprintf("upscale-period %q", s.UpPeriod)}
	}
	return verdict{why: fmt.Sprintf("downscale-period %q", s.DownPeriod)}
}

func (s *Spec) contains(t time.Time) bool { return s != nil && s.Contains(t) }

// horizon is how far ahead a change of the verdict is looked for, in steps of eight days: further than any holiday.
const horizon = 60

// change is the next moment after t at which the verdict changes; zero if there is none in sight.
func (s Settings) change(t time.Time, now verdict) time.Time {
	end := t
	for range horizon {
		from := end
		end = from.Add(8 * 24 * time.Hour)
		for _, at := range s.edges(from) {
			if !at.After(t) || at.After(end) {
				continue
			}
			if v := s.at(at); v.up != now.up || v.ignore != now.ignore {
				return at
			}
		}
		if !s.later(end) {
			return time.Time{}
		}
	}
	return time.Time{}
}

// specs are all sets of times in the settings.
func (s Settings) specs() []Spec {
	out := slices.Clone(s.Exclude)
	for _, one := range []*Spec{s.Uptime, s.Downtime, s.UpPeriod, s.DownPeriod, s.ForceUp, s.ForceDown} {
		if one != nil {
			out = append(out, *one)
		}
	}
	return out
}

// edges are the moments from t on at which the verdict may change, in order.
func (s Settings) edges(t time.Time) []time.Time {
	var out []time.Time
	if !s.Until.IsZero() {
		out = append(out, s.Until)
	}
	for _, spec := range s.specs() {
		out = append(out, spec.edges(t)...)
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.CompactFunc(out, time.Time.Equal)
}

// later says whether something lies after t that no week before it shows.
func (s Settings) later(t time.Time) bool {
	if s.Until.After(t) {
		return true
	}
	for _, spec := range s.specs() {
		for _, one := range spec.spans {
			if a, ok := one.(absolute); ok && a.to.After(t) {
				return true
			}
		}
	}
	return false
}
