package replay

import (
	"math"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
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
	// values are the present columns of the metrics, reserved what the pods reserved where one is a percentage, pods how
	// many there were. utilization says that the first metric is a percentage.
	values, reserved [][]float64
	pods             []float64
	utilization      bool

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
	s.values, s.reserved = make([][]float64, len(set.Metrics)), make([][]float64, len(set.Metrics))
	s.out.Settings = set.Name
	return s
}

// take takes in the facts of the next moments. Those of former moments are ignored.
func (s *simulation) take(m moments) {
	s.pods = m.values(podsColumn)
	for i, metric := range s.set.Metrics {
		s.values[i] = m.values(metric.Column)
		if s.decision.Metrics[i].Kind == decision.Utilization {
			s.reserved[i] = m.values(reservedBy(metric.Column))
		}
	}
	for row, at := range m.times() {
		s.step(row, at)
	}
}

// step takes in the facts of a moment.
func (s *simulation) step(row int, at int64) {
	if s.begun && at <= s.last {
		return
	}
	if !s.begun {
		s.begin(row, at)
	}
	for s.next > 0 && s.next < at && s.next-s.last < int64(maxGap) {
		s.advance(s.next)
		s.decide(time.Unix(0, s.last))
	}
	s.advance(at)
	now := time.Unix(0, at)
	s.observe(row, now)
	s.decide(now)
}

// begin starts with the pods that were there, or those that the demand needs where that was not recorded, so that a
// replay does not begin with a peak of starts.
func (s *simulation) begin(row int, at int64) {
	s.begun, s.last = true, at
	there := int32(s.pods[row])
	if there < 0 && len(s.set.Metrics) > 0 {
		s.share(row)
		there = int32(min(s.needed(), mostPods))
	}
	s.replicas = min(max(there, s.decision.Min), max(s.decision.Max, s.decision.Min))
	s.ready = s.replicas
	s.out.From = time.Unix(0, at).UTC()
	s.decision.Created = s.out.From
	s.st = decision.NewState(s.out.From, s.replicas, time.Time{})
	s.out.Peak = s.replicas
}

// observe makes readings of the facts.
func (s *simulation) observe(row int, now time.Time) {
	if len(s.values) > 0 {
		s.share(row)
		s.need = s.needed()
	}
	for i := range s.values {
		value := s.values[i][row]
		if s.decision.Metrics[i].Kind == decision.Utilization {
			value = percent(value, s.reservedByPod(i, row)*float64(s.replicas))
		}
		r := &s.facts.Readings[i]
		r.Value, r.Active, r.At = value, value > s.set.Metrics[i].Activation, now
	}
}

// share finds the demand, and what one pod serves of it.
func (s *simulation) share(row int) {
	s.demand, s.pod = s.values[0][row], s.capacity
	if !s.utilization {
		return
	}
	if s.pod = s.set.Capacity; s.pod <= 0 {
		s.pod = s.reservedByPod(0, row)
	}
}

// reservedByPod is what a pod reserves of what a metric measures.
func (s *simulation) reservedByPod(metric, row int) float64 {
	if pods := s.pods[row]; pods > 0 {
		return s.reserved[metric][row] / pods
	}
	return 0
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
	s.next = 0
	if decision.Steady(&s.decision, s.st, &s.facts) {
		return
	}
	p := decision.Decide(&s.decision, s.st, &s.facts)
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

// close completes the outcome.
func (s *simulation) close() {
	if s.begun {
		s.out.To = time.Unix(0, s.last).UTC()
	}
	s.out.close()
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
