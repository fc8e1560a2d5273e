package fastpath

import (
	"slices"
	"testing"
	"time"
)

func TestLongestWaiting(t *testing.T) {
	now := time.Now()
	l := &loop{clients: map[*client]struct{}{}}
	add := func(state clientState, waits time.Duration) *client {
		c := &client{state: state, waitsSince: now.Add(-waits)}
		l.clients[c] = struct{}{}
		return c
	}
	second := add(waiting, 2*time.Second)
	third := add(waiting, time.Second)
	add(exchanging, time.Hour)
	first := add(waiting, 3*time.Second)
	add(waiting, 0)
	if got := l.longestWaiting(3); !slices.Equal(got, []*client{first, second, third}) {
		t.Errorf("got %v", got)
	}
	if got := l.longestWaiting(9); len(got) != 4 {
		t.Errorf("got %d, want the four that wait", len(got))
	}
}
