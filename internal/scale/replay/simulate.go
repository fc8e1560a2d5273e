package replay

import (
	"math"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/signal"
)

// maxGap is how long a fact may count where none follows it.
const maxGap = time.Minute

// simulation is one workload under one set of settings.
type simulation struct {
	set      *Settings
	decision decision.Settings
	st       *decision.State
	facts    decision.Facts
	capacity float64
	// values read the columns of the metrics, utilization says that the first is a percentage.
	values      []func(*signal.Facts) float64
	utilization bool

	begun bool
	// last is the time that is counted to, in nanoseconds since 1970: times are compared very often.
	last int64
	// demand is that since last, pod what one ready pod serves of it, need how many pods it takes.
	demand, pod, need float64
	// replicas are asked for; ready of them are ready, the others become so in the order of starting.
	replicas, ready int32
	starting        []start
	// next is when to decide though no fact comes; 0: never.
	next int64

	out Outcome
}

// start is a number of pods that are ready at a time.
type start struct {
	at   int64
	pods int32
}

func newSimulation(set *Settings) *simulation {
	s := &simulation{set: set, decision: set.Decision, capacity: set.capacity()}
	s.facts.Readings = make([]decision.Reading, len(set.Metrics))
	s.facts.CallersKnown = true
	s.utilization = set.utilization()
	for _, m := range set.Metrics {
		s.values = append(s.values, m.Column.reader())
	}
	s.out.Settings = set.Name
	return s
}

// step takes in the facts of the next moment. Those of former moments are ignored.
func (s *simulation) step(f *signal.Facts) {
	at := f.At.UnixNano()
	if s.begun && at <= s.last {
		return
	}
	if !s.begun {
		s.begin(f, at)
	}
	for s.next > 0 && s.next < at && s.next-s.last < int64(maxGap) {
		s.advance(s.next)
		s.decide(time.Unix(0, s.last))
	}
	s.advance(at)
	s.observe(f)
	s.decide(f.At)
	s.out.To = f.At
}

// begin starts with the pods that were there, or those that the demand needs where that was not recorded, so that a
// replay does not begin with a peak of starts.
func (s *simulation) begin(f *signal.Facts, at int64) {
	s.begun, s.last = true, at
	there := f.Pods
	if there < 0 && len(s.set.Metrics) > 0 {
		c := s.set.Metrics[0].Column
		s.demand, s.pod = s.share(c, s.values[0](f), f)
		there = int32(min(s.needed(), mostPods))
	}
	s.replicas = min(max(there, s.decision.Min), max(s.decision.Max, s.decision.Min))
	s.ready = s.replicas
	s.decision.Created = f.At
	s.st = decision.NewState(f.At, s.replicas, time.Time{})
	s.out.From = f.At
	s.out.Peak = s.replicas
}

// observe makes readings of the facts.
func (s *simulation) observe(f *signal.Facts) {
	for i := range s.set.Metrics {
		m := &s.set.Metrics[i]
		value := s.values[i](f)
		if i == 0 {
			s.demand, s.pod = s.share(m.Column, value, f)
			s.need = s.needed()
		}
		if s.decision.Metrics[i].Kind == decision.Utilization {
			value = percent(value, reservedByPod(m.Column, f)*float64(s.replicas))
		}
		s.facts.Readings[i] = decision.Reading{Value: value, Active: value > m.Activation, At: f.At}
	}
}

// share is the demand, and what one pod serves of it.
func (s *simulation) share(c Column, value float64, f *signal.Facts) (demand, pod float64) {
	if !s.utilization {
		return value, s.capacity
	}
	if s.set.Capacity > 0 {
		return value, s.set.Capacity
	}
	return value, reservedByPod(c, f)
}

// reservedByPod is what a pod reserves: of CPU, or of memory.
func reservedByPod(c Column, f *signal.Facts) float64 {
	if f.Pods <= 0 {
		return 0
	}
	if c == Memory {
		return f.MemoryReserved / float64(f.Pods)
	}
	return f.CPUReserved / float64(f.Pods)
}

func percent(value, of float64) float64 {
	if of <= 0 {
		return 0
	}
	return 100 * value / of
}

// advance counts the time up to at, in which pods may become ready.
func (s *simulation) advance(at int64) {
	for len(s.starting) > 0 && s.starting[0].at <= at {
		s.count(max(s.starting[0].at, s.last))
		s.ready += s.starting[0].pods
		s.starting = s.starting[:copy(s.starting, s.starting[1:])]
	}
	s.count(at)
}

// count adds up what there was since the last time.
func (s *simulation) count(at int64) {
	gap := min(at-s.last, int64(maxGap))
	s.last = at
	if gap <= 0 {
		return
	}
	s.out.add(float64(gap)/1e9, &state{
		demand: s.demand, served: float64(s.ready) * s.pod, pods: float64(s.replicas), need: s.need,
	})
}

// needed is how many pods the demand takes.
func (s *simulation) needed() float64 {
	if s.demand <= 0 {
		return 0
	}
	if s.pod <= 0 {
		return float64(s.replicas)
	}
	return math.Ceil(s.demand / s.pod * (1 - 1e-9))
}

// decide makes the decision of a moment and carries it out.
func (s *simulation) decide(now time.Time) {
	s.facts.Now = now
	s.facts.Replicas, s.facts.Pods, s.facts.Ready = s.replicas, s.replicas, s.ready
	s.facts.Held = s.ready == 0 && s.demand > 0
	p := decision.Decide(&s.decision, s.st, &s.facts)
	s.next = 0
	if !p.Next.IsZero() {
		s.next = p.Next.UnixNano()
	}
	if p.Replicas == s.replicas {
		return
	}
	s.st.Scaled(&s.decision, s.replicas, p.Replicas, now)
	if p.Replicas > s.replicas {
		s.out.ScaleUps++
		s.start(p.Replicas-s.replicas, now.UnixNano()+int64(s.set.StartDelay))
	} else {
		s.out.ScaleIns++
		s.end(s.replicas - p.Replicas)
	}
	s.replicas = p.Replicas
	s.out.Peak = max(s.out.Peak, s.replicas)
}

func (s *simulation) start(pods int32, at int64) {
	if s.set.StartDelay == 0 {
		s.ready += pods
		return
	}
	s.starting = append(s.starting, start{at, pods})
}

// end takes pods away, those that are not ready first, as a ReplicaSet does.
func (s *simulation) end(pods int32) {
	for pods > 0 && len(s.starting) > 0 {
		newest := &s.starting[len(s.starting)-1]
		n := min(pods, newest.pods)
		newest.pods -= n
		pods -= n
		if newest.pods == 0 {
			s.starting = s.starting[:len(s.starting)-1]
		}
	}
	s.ready -= pods
}
