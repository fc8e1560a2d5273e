package signal

import "time"

const (
	// fineKept is how many ticks are kept as they were: five minutes, while somebody reads.
	fineKept = 300
	// coarseStep is how far apart the facts are that are kept beyond, coarseKept how many: an hour.
	coarseStep = 10 * time.Second
	coarseKept = 360
	// maxTriggers is how many triggers of a workload have their lag kept.
	maxTriggers = 8

	pointBytes   = 56
	latencyBytes = 68
	lagBytes     = 8

	// BytesPerWorkload is the most memory the facts of one workload take, its lags (BytesPerTrigger) aside. One without
	// requests takes the part that is not latency.
	BytesPerWorkload = (fineKept + coarseKept) * (pointBytes + latencyBytes)
	// BytesPerTrigger is the most memory the lag of one trigger takes.
	BytesPerTrigger = (fineKept + coarseKept) * lagBytes
)

// tier is the last facts of a workload at one distance, in a ring.
type tier struct {
	size   int
	points []point
	// next is the place of the oldest point once the ring is full.
	next int
	// latencies is as long as the ring will be, or nil as long as there were no requests.
	latencies []packed
	lags      []lagRing
}

// lagRing is the lags of one trigger at the same places as the points.
type lagRing struct {
	trigger string
	lags    []lagPoint
}

type lagPoint struct {
	value float32
	age   age
}

func (t *tier) add(f *Facts) {
	place := t.next
	if len(t.points) < t.size {
		place = len(t.points)
		t.points = append(t.grown(), packPoint(f))
	} else {
		t.points[place] = packPoint(f)
		t.next = (t.next + 1) % t.size
	}
	if t.latencies == nil && f.Latency.Count() > 0 {
		t.latencies = make([]packed, t.size)
	}
	if t.latencies != nil {
		t.latencies[place] = pack(&f.Latency)
	}
	t.addLags(place, f)
}

// grown has room for one more point. The ring takes memory as it fills, and never more than its size.
func (t *tier) grown() []point {
	if len(t.points) < cap(t.points) {
		return t.points
	}
	return append(make([]point, 0, min(max(2*len(t.points), 16), t.size)), t.points...)
}

func (t *tier) addLags(place int, f *Facts) {
	for i := range t.lags {
		t.lags[i].lags[place] = lagPoint{age: ageUnknown}
	}
	for _, l := range f.Lags {
		if ring := t.lagRing(l.Trigger); ring != nil {
			ring.lags[place] = lagPoint{value: float32(l.Value), age: ageOf(f.At, l.At)}
		}
	}
}

// lagRing is the ring of a trigger; nil when there are too many.
func (t *tier) lagRing(trigger string) *lagRing {
	for i := range t.lags {
		if t.lags[i].trigger == trigger {
			return &t.lags[i]
		}
	}
	if len(t.lags) == maxTriggers {
		return nil
	}
	ring := lagRing{trigger: trigger, lags: make([]lagPoint, t.size)}
	for i := range ring.lags {
		ring.lags[i].age = ageUnknown
	}
	t.lags = append(t.lags, ring)
	return &t.lags[len(t.lags)-1]
}

// each calls f with the facts between two times, the first included, oldest first.
func (t *tier) each(since, before time.Time, f func(Facts)) {
	for i := range t.points {
		place := (t.next + i) % len(t.points)
		at := t.points[place].at()
		if at.Before(since) || !at.Before(before) {
			continue
		}
		f(t.facts(place))
	}
}

func (t *tier) facts(place int) Facts {
	f := t.points[place].facts()
	if t.latencies != nil {
		f.Latency = t.latencies[place].unpack()
	}
	for _, ring := range t.lags {
		if l := ring.lags[place]; l.age != ageUnknown {
			f.Lags = append(f.Lags, Lag{Trigger: ring.trigger, Value: float64(l.value), At: l.age.before(f.At)})
		}
	}
	sortLags(f.Lags)
	return f
}

// oldest is the time of the oldest point; false without any.
func (t *tier) oldest() (time.Time, bool) {
	if len(t.points) == 0 {
		return time.Time{}, false
	}
	return t.points[t.next%len(t.points)].at(), true
}

// bytes is the memory the tier takes.
func (t *tier) bytes() int {
	n := cap(t.points)*pointBytes + len(t.latencies)*latencyBytes
	for _, l := range t.lags {
		n += len(l.lags) * lagBytes
	}
	return n
}
