package signal

import (
	"context"
	"net"
	"sync"
	"time"
)

// PodTimes is when data planes saw a pod reach the stages that only they see; zero: not yet.
type PodTimes struct{ Routed, Answered time.Time }

// maxPods is how many addresses keep their times; the oldest makes room.
const maxPods = 4096

// podStages keeps when pods reached their stages, by address.
type podStages struct {
	mu       sync.Mutex
	times    map[string]*PodTimes
	order    []string // a ring once it is full; the oldest is at next
	next     int
	watchers map[int]func(address string, stage PodStage, at time.Time)
	serial   int
}

// reached notes a stage and tells the watchers, the first time only.
func (p *podStages) reached(address string, stage PodStage, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.of(address)
	slot := &t.Routed
	if stage == PodAnswered {
		slot = &t.Answered
	}
	if !slot.IsZero() {
		return
	}
	*slot = at
	for _, f := range p.watchers {
		f(address, stage, at)
	}
}

// of is the entry of an address, made if it is not there; the caller holds mu.
func (p *podStages) of(address string) *PodTimes {
	if t, ok := p.times[address]; ok {
		return t
	}
	if p.times == nil {
		p.times = map[string]*PodTimes{}
	}
	if len(p.order) < maxPods {
		p.order = append(p.order, address)
	} else {
		delete(p.times, p.order[p.next])
		p.order[p.next] = address
		p.next = (p.next + 1) % maxPods
	}
	t := &PodTimes{}
	p.times[address] = t
	return t
}

// forget makes an address new again, with all its ports.
func (p *podStages) forget(ip string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, t := range p.times {
		if host, _, err := net.SplitHostPort(address); err == nil && host == ip {
			*t = PodTimes{}
		}
	}
}

// PodTimes is when data planes saw the pod behind "ip:port" reach its stages.
func (s *Store) PodTimes(address string) PodTimes {
	if s == nil {
		return PodTimes{}
	}
	s.pods.mu.Lock()
	defer s.pods.mu.Unlock()
	if t, ok := s.pods.times[address]; ok {
		return *t
	}
	return PodTimes{}
}

// PodForget says that the pod with this IP address is gone, so that the next one there starts anew.
func (s *Store) PodForget(ip string) {
	if s != nil {
		s.pods.forget(ip)
	}
}

// WatchPods calls f whenever a pod reaches a stage for the first time, until ctx ends. f must not block and must not
// call the store.
func (s *Store) WatchPods(ctx context.Context, f func(address string, stage PodStage, at time.Time)) {
	if s == nil {
		return
	}
	s.pods.mu.Lock()
	defer s.pods.mu.Unlock()
	if s.pods.watchers == nil {
		s.pods.watchers = map[int]func(string, PodStage, time.Time){}
	}
	s.pods.serial++
	id := s.pods.serial
	s.pods.watchers[id] = f
	context.AfterFunc(ctx, func() {
		s.pods.mu.Lock()
		defer s.pods.mu.Unlock()
		delete(s.pods.watchers, id)
	})
}
