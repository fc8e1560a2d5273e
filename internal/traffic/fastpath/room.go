package fastpath

import (
	"slices"
	"sync/atomic"
)

// Room bounds the connections of servers.
type Room struct {
	// Limit is how many connections a server may have at once. When it has as many, those that have been without a request
	// for longest are closed for new ones, and where all have one, the new ones are.
	Limit int
	// Evicted and Refused are how many were closed because there were too many: old ones without a request, and new ones.
	Evicted, Refused atomic.Uint64
}

// Bound gives the server's connections a limit. Without, they have none.
func (s *Server) Bound(r *Room) { s.room.Store(r) }

// Open is how many connections there are.
func (s *Server) Open() int {
	var n int64
	for i := range s.load {
		n += s.load[i].Load()
	}
	return int(n)
}

// admit says whether one more connection may be taken in. It closes others for it if need be.
func (l *loop) admit() bool {
	room := l.server.room.Load()
	if room == nil || l.server.Open() < room.Limit {
		return true
	}
	out := l.longestWaiting(room.Limit/64 + 1)
	for _, c := range out {
		c.close()
	}
	room.Evicted.Add(uint64(len(out)))
	if len(out) == 0 {
		room.Refused.Add(1)
	}
	return len(out) > 0
}

// longestWaiting is up to n clients of this loop that have no request on its way, those who wait for longest first.
func (l *loop) longestWaiting(n int) []*client {
	var all []*client
	for c := range l.clients {
		if c.state == waiting {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *client) int { return a.waitsSince.Compare(b.waitsSince) })
	return all[:min(n, len(all))]
}
