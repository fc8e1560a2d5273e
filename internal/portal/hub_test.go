package portal

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestHubGathersChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		ctx, cancel := context.WithCancel(t.Context())
		busy, idle := h.changes(ctx), h.changes(ctx)
		started := time.Now()
		for range 1000 {
			h.poke()
		}
		<-busy
		if took := time.Since(started); took != calm {
			t.Errorf("told after %v", took)
		}
		h.poke() // idle has not read the first one
		time.Sleep(calm)
		synctest.Wait()
		if len(busy) != 1 || len(idle) != 1 {
			t.Errorf("%d and %d waiting, want one each", len(busy), len(idle))
		}
		cancel()
		synctest.Wait()
		if len(h.readers) != 0 {
			t.Errorf("%d readers after their context ended", len(h.readers))
		}
		h.poke()
	})
}
