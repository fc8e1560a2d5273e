package fastpath

import (
	"slices"
	"sync/atomic"
)

// room bounds the connections of a server.
type room struct {
	limit            atomic.Int64 // 0 for none
	evicted, refused atomic.Uint64
}

// SetLimit bounds how many connections there are at once; 0 for no bound. When there are as many, those that have been
// without a request for longest are closed for new ones, and where all have one, the new ones are.
func (s *Server) SetLimit(n int) { s.room.limit.Store(int64(n)) }

// Count is how many connections there are, and how many were closed because there were too many: old ones without a
// request, and new ones.
func (s *Server) Count() (open int, evicted, refused uint64) {
	for i := range s.load {
		open += int(s.load[i].Load())
	}
	return open, s.room.evicted.Load(), s.room.refused.Load()
}

// admit says whether one more connection may be taken in. It closes others for it if need be.
func (l *loop) admit() bool {
	limit := int(l.server.room.limit.Load())
	if limit == 0 {
		return true
	}
	if open, _, _ := l.server.Count(); open < limit {
		return true
	}
	out := l.longestWaiting(limit/64 + 1)
	for _, c := range out {
		c.close()
	}
	l.server.room.evicted.Add(uint64(len(out)))
	if len(out) == 0 {
		l.server.room.refused.Add(1)
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
