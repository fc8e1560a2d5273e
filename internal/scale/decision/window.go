package decision

import "time"

// MaxSamples is the most samples a window holds, whatever the clock of its readings does.
const MaxSamples = 1024

// moment is a time in nanoseconds since 1970: the decision compares times very often.
type moment int64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m)).UTC()
}

type sample struct {
	at    moment
	value float64
}

// samples are the values of the long window, newest last, in a ring that grows as needed.
type samples struct {
	ring  []sample
	first int
	count int
	sum   float64
}

func (s *samples) at(i int) sample { return s.ring[(s.first+i)&(len(s.ring)-1)] }

// add takes a value in, unless it is older than the newest, and drops what is not after the cut.
func (s *samples) add(v sample, cut moment) {
	if s.count > 0 && s.at(s.count-1).at >= v.at {
		return
	}
	for s.count > 0 && (s.at(0).at <= cut || s.count == MaxSamples) {
		s.sum -= s.at(0).value
		s.first = (s.first + 1) & (len(s.ring) - 1)
		s.count--
	}
	if s.count == 0 {
		s.first, s.sum = 0, 0
	}
	if s.count == len(s.ring) {
		s.grow()
	}
	s.ring[(s.first+s.count)&(len(s.ring)-1)] = v
	s.count++
	s.sum += v.value
	if s.first == 0 {
		s.resum() // what adding and subtracting rounded off does not pile up
	}
}

func (s *samples) grow() {
	ring := make([]sample, max(4, 2*len(s.ring)))
	for i := range s.count {
		ring[i] = s.at(i)
	}
	s.ring, s.first = ring, 0
}

func (s *samples) resum() {
	s.sum = 0
	for i := range s.count {
		s.sum += s.at(i).value
	}
}

// demand is the higher of the lowest value after the short cut and the mean of all. Without values it is 0.
func (s *samples) demand(short moment) float64 {
	if s.count == 0 {
		return 0
	}
	return max(s.lowest(short), s.sum/float64(s.count), 0)
}

// lowest is the lowest value after the cut; the newest is always looked at.
func (s *samples) lowest(short moment) float64 {
	if s.count == 0 {
		return 0
	}
	low := s.at(s.count - 1).value
	for i := s.count - 2; i >= 0; i-- {
		v := s.at(i)
		if v.at <= short {
			break
		}
		low = min(low, v.value)
	}
	return low
}

type recommendation struct {
	at   moment
	pods int32
}

// extreme is the highest, or lowest, recommendation of a sliding window. It keeps only those that may yet be it, so that
// a window of half an hour costs no more than one of a second.
type extreme struct {
	lowest bool
	queue  []recommendation
	first  int
}

// add takes a recommendation in and returns the extreme of those after the cut.
func (e *extreme) add(r recommendation, cut moment) recommendation {
	for len(e.queue) > e.first && !e.keeps(e.queue[len(e.queue)-1].pods, r.pods) {
		e.queue = e.queue[:len(e.queue)-1]
	}
	e.queue = append(e.queue, r)
	for e.queue[e.first].at <= cut && e.first < len(e.queue)-1 {
		e.first++
	}
	if e.first > 32 && 2*e.first > len(e.queue) {
		e.queue = e.queue[:copy(e.queue, e.queue[e.first:])]
		e.first = 0
	}
	return e.queue[e.first]
}

// keeps says whether an older recommendation may still be the extreme once a newer one is there.
func (e *extreme) keeps(older, newer int32) bool {
	if e.lowest {
		return older < newer
	}
	return older > newer
}

// change is a number of pods that were added or taken away.
type change struct {
	at   moment
	pods int32
}

// changes are those of the longest period of the policies.
type changes []change

func (c changes) since(cut moment) int32 {
	var sum int32
	for _, e := range c {
		if e.at > cut {
			sum += e.pods
		}
	}
	return sum
}

// add takes one in, dropping what is not after the cut. Changes of the same period beyond MaxSamples become one.
func (c changes) add(e change, cut moment) changes {
	kept := c[:0]
	for _, old := range c {
		if old.at > cut {
			kept = append(kept, old)
		}
	}
	if n := len(kept); n >= MaxSamples {
		e.pods += kept[n-1].pods
		kept = kept[:n-1]
	}
	return append(kept, e)
}
