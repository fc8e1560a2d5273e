package portal

import (
	"context"
	"sync"
	"time"
)

// calm is how long changes are gathered before pages are made anew.
const calm = 200 * time.Millisecond

// hub tells every open page that something changed. Changes within 200 ms are told once.
type hub struct {
	mu      sync.Mutex
	pending bool
	readers map[chan struct{}]struct{}
}

func newHub() *hub { return &hub{readers: map[chan struct{}]struct{}{}} }

// poke says that something changed.
func (h *hub) poke() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending || len(h.readers) == 0 {
		return
	}
	h.pending = true
	time.AfterFunc(calm, h.tell)
}

func (h *hub) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = false
	for ch := range h.readers {
		select {
		case ch <- struct{}{}:
		default: // it has one waiting
		}
	}
}

// changes receives after something changed, until ctx ends.
func (h *hub) changes(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	h.readers[ch] = struct{}{}
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.readers, ch)
	})
	return ch
}
