package signal

import (
	"cmp"
	"slices"
	"time"
)

// series is the facts of one workload.
type series struct {
	newest       Facts
	fine, coarse tier
	// bin gathers the facts of the present coarse step.
	bin bin
	// lags is what was told of each trigger last.
	lags []Lag
	// lastRequest is when a data plane last counted a request.
	lastRequest time.Time
}

func newSeries() *series {
	return &series{fine: tier{size: fineKept}, coarse: tier{size: coarseKept}}
}

// add makes f, completed by the lags, the newest facts.
func (s *series) add(f *Facts) {
	f.Lags = slices.Clone(s.lags)
	if f.Rate > 0 {
		s.lastRequest = f.At
	}
	s.newest = *f
	s.fine.add(f)
	if s.bin.full(f.At) {
		s.coarse.add(s.bin.facts())
		s.bin = bin{}
	}
	s.bin.add(f)
}

// lagAt is when a lag was told last.
func (s *series) lagAt() (last time.Time) {
	for _, l := range s.lags {
		if l.At.After(last) {
			last = l.At
		}
	}
	return last
}

// history returns the facts since a time, oldest first: the coarse ones where there are no finer.
func (s *series) history(since time.Time) []Facts {
	var out []Facts
	collect := func(f Facts) { out = append(out, f) }
	first, ok := s.fine.oldest()
	if !ok {
		return nil
	}
	s.coarse.each(since, first, collect)
	s.fine.each(since, s.newest.At.Add(time.Nanosecond), collect)
	return out
}

// setLag tells the lag of a trigger. Beyond maxTriggers, the one that was told longest ago goes.
func (s *series) setLag(l Lag) {
	for i := range s.lags {
		if s.lags[i].Trigger == l.Trigger {
			s.lags[i] = l
			return
		}
	}
	if len(s.lags) == maxTriggers {
		oldest := slices.MinFunc(s.lags, func(a, b Lag) int { return a.At.Compare(b.At) })
		s.lags = slices.DeleteFunc(s.lags, func(l Lag) bool { return l.Trigger == oldest.Trigger })
	}
	s.lags = append(s.lags, l)
	sortLags(s.lags)
}

func sortLags(lags []Lag) {
	slices.SortFunc(lags, func(a, b Lag) int { return cmp.Compare(a.Trigger, b.Trigger) })
}

// bin is the mean of some facts; its counts of pods, and what belongs to them, are the newest.
type bin struct {
	n      float64
	sum    Facts
	newest Facts
}

// full says whether facts of this time belong to the next bin.
func (b *bin) full(at time.Time) bool {
	return b.n > 0 && !at.Truncate(coarseStep).Equal(b.newest.At.Truncate(coarseStep))
}

func (b *bin) add(f *Facts) {
	b.n++
	b.newest = *f
	b.sum.InFlight += f.InFlight
	b.sum.Held += f.Held
	b.sum.Rate += f.Rate
	b.sum.ErrorRate += f.ErrorRate
	b.sum.CPU += f.CPU
	b.sum.Memory += f.Memory
	b.sum.Latency.Add(&f.Latency)
}

func (b *bin) facts() *Facts {
	f := b.newest
	f.InFlight, f.Held = b.sum.InFlight/b.n, b.sum.Held/b.n
	f.Rate, f.ErrorRate = b.sum.Rate/b.n, b.sum.ErrorRate/b.n
	f.CPU, f.Memory = b.sum.CPU/b.n, b.sum.Memory/b.n
	f.Latency = b.sum.Latency
	return &f
}

// bytes is the memory the kept facts take.
func (s *series) bytes() int { return s.fine.bytes() + s.coarse.bytes() }
