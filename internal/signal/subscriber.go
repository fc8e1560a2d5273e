package signal

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// subscriber is one reader of events. What it has not taken yet is at most one tick and one event for each Service with
// held requests.
type subscriber struct {
	out  chan Event
	wake chan struct{}

	mu      sync.Mutex
	held    []Event
	waiting map[types.NamespacedName]bool
	tick    *Event
}

func newSubscriber() *subscriber {
	return &subscriber{out: make(chan Event), wake: make(chan struct{}, 1), waiting: map[types.NamespacedName]bool{}}
}

// tell adds an event and does not block.
func (s *subscriber) tell(e Event) {
	s.mu.Lock()
	switch {
	case e.Held == types.NamespacedName{}:
		s.tick = &e
	case !s.waiting[e.Held]:
		s.waiting[e.Held] = true
		s.held = append(s.held, e)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take removes the next event; held requests go first.
func (s *subscriber) take() (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) > 0 {
		e := s.held[0]
		s.held = s.held[1:]
		delete(s.waiting, e.Held)
		return e, true
	}
	if s.tick != nil {
		e := *s.tick
		s.tick = nil
		return e, true
	}
	return Event{}, false
}

// run hands events over until ctx ends.
func (s *subscriber) run(ctx context.Context) {
	defer close(s.out)
	for {
		e, ok := s.take()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case s.out <- e:
		}
	}
}
