package signal

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Run gathers facts until ctx ends: each second while somebody reads or has asked within the last minute, seldom or
// never otherwise.
func (s *Store) Run(ctx context.Context) error {
	for {
		var due <-chan time.Time
		if pace := s.pace(time.Now()); pace > 0 {
			due = time.After(untilNext(time.Now(), pace))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.attended:
		case <-due:
			s.tickUnless(ctx, Pace/2)
		}
	}
}

// untilNext is the time to the next multiple of pace on the clock, so that ticks fall on whole seconds.
func untilNext(now time.Time, pace time.Duration) time.Duration {
	return now.Truncate(pace).Add(pace).Sub(now)
}

// pace is how often to gather facts now; 0 is not at all.
func (s *Store) pace(now time.Time) time.Duration {
	s.subMu.Lock()
	read := len(s.subs) > 0
	s.subMu.Unlock()
	switch {
	case read, now.Sub(time.Unix(0, s.lastRead.Load())) < attention:
		return Pace
	case s.cfg.Recorder != nil:
		return IdlePace
	}
	return 0
}

// Refresh makes sure that the newest facts are at most a Pace old, for readers that do not subscribe.
func (s *Store) Refresh(ctx context.Context) {
	if s == nil {
		return
	}
	s.attend()
	s.tickUnless(ctx, Pace+Pace/2)
}

// tickUnless gathers facts unless the newest are younger than that: what is counted between two readings that follow at
// once makes no rate.
func (s *Store) tickUnless(ctx context.Context, younger time.Duration) {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	s.mu.RLock()
	last := s.lastAt
	s.mu.RUnlock()
	if now := time.Now(); now.Sub(last) >= younger {
		s.tickLocked(ctx, now)
	}
}

// Tick gathers the facts of this moment, as Run does, and tells the subscribers.
func (s *Store) Tick(ctx context.Context, now time.Time) {
	s.ticking.Lock()
	defer s.ticking.Unlock()
	s.tickLocked(ctx, now)
}

func (s *Store) tickLocked(ctx context.Context, now time.Time) {
	facts := s.gather(ctx, now)
	s.keep(now, facts)
	if s.cfg.Recorder != nil {
		s.record(now, facts)
	}
	s.publish(Event{At: now})
}

// gather asks everything that knows something.
func (s *Store) gather(ctx context.Context, now time.Time) map[Workload]*Facts {
	facts := s.replicas(now)
	flows := map[types.NamespacedName]*flow{}
	for _, c := range s.sources {
		c.read(now, flows)
	}
	for service, flow := range flows {
		for _, b := range s.Backends(service) {
			f := facts[b.Workload]
			if f == nil {
				f = &Facts{At: now}
				facts[b.Workload] = f
			}
			f.TrafficAt = now
			flow.addTo(f, b.Share)
		}
	}
	if s.cfg.Usage != nil {
		for w, u := range s.cfg.Usage.Usage(ctx) {
			if f := facts[w]; f != nil {
				f.UsageAt, f.CPU, f.Memory = u.At, u.CPU, u.Memory
			}
		}
	}
	return facts
}

// replicas begins the facts of every workload.
func (s *Store) replicas(now time.Time) map[Workload]*Facts {
	facts := map[Workload]*Facts{}
	if s.cfg.Topology == nil {
		return facts
	}
	s.cfg.Topology.Each(func(w Workload, r Replicas) {
		facts[w] = &Facts{
			At: now, Desired: r.Desired, Pods: r.Pods, Ready: r.Ready,
			CPUReserved: r.CPUReserved, MemoryReserved: r.MemoryReserved,
		}
	})
	return facts
}

// keep puts the facts in place and forgets workloads that are gone.
func (s *Store) keep(now time.Time, facts map[Workload]*Facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastAt = now
	for w := range facts {
		s.seriesOf(w)
	}
	for w, have := range s.series {
		if facts[w] == nil && now.Sub(have.lagAt()) < lagFresh {
			facts[w] = &Facts{At: now}
		}
		switch f := facts[w]; {
		case f != nil:
			have.add(f)
		case now.Sub(have.newest.At) > remembered && now.Sub(have.lagAt()) > remembered:
			delete(s.series, w)
		}
	}
}

// record hands the facts on.
func (s *Store) record(now time.Time, facts map[Workload]*Facts) {
	s.recorded = s.recorded[:0]
	for w, f := range facts {
		s.recorded = append(s.recorded, Recorded{w, *f})
	}
	s.cfg.Recorder.Record(now, s.recorded)
}
