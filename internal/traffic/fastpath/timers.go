package fastpath

import "time"

// timer ends something that takes too long. Moving it later costs nothing: it is looked at again where it stood.
type timer struct {
	when  time.Time // zero: disarmed
	at    time.Time // its place in the heap
	index int       // in the heap, from 1; 0 is outside
	fire  expirer
}

type expirer interface{ expire() }

// timers is a heap of timers, the next first.
type timers []*timer

// arm sets a timer; the zero time disarms it.
func (h *timers) arm(t *timer, when time.Time) {
	t.when = when
	switch {
	case when.IsZero():
	case t.index == 0:
		t.at = when
		*h = append(*h, t)
		t.index = len(*h)
		h.up(t.index - 1)
	case when.Before(t.at):
		t.at = when
		h.up(t.index - 1)
	}
}

// remove takes a timer out before its owner goes.
func (h *timers) remove(t *timer) {
	if t.index == 0 {
		return
	}
	i, last := t.index-1, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index, t.when = 0, time.Time{}
	if i < last {
		h.down(i)
		h.up(i)
	}
}

// run fires what is due, and returns the milliseconds until the next; -1 for never.
func (h *timers) run(now time.Time) int {
	for len(*h) > 0 {
		t := (*h)[0]
		if wait := t.at.Sub(now); wait > 0 {
			return int((wait + time.Millisecond - 1) / time.Millisecond)
		}
		switch {
		case t.when.IsZero():
			h.remove(t)
		case t.when.After(now):
			t.at = t.when
			h.down(0)
		default:
			h.remove(t)
			t.fire.expire()
		}
	}
	return -1
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].at.Before(h[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].at.Before(h[child].at) {
			child++
		}
		if !h[child].at.Before(h[i].at) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
