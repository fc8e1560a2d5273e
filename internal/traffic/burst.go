package traffic

import (
	"time"

	"github.com/escale-dev/escale/internal/engine/memory"
)

const (
	// burstRoutes is how many routes are worth a look at what their compilation left behind.
	burstRoutes = 500
	// burstOver is how long there are no changes once a burst is over.
	burstOver = 5 * time.Second
)

// burst gives memory back that many changes at once needed. The runtime would do so too, but slowly and not below what
// its next collection may need, which the burst has raised. One goroutine at a time may use it.
type burst struct {
	routes int
	over   *time.Timer
}

// add notes that routes were compiled.
func (b *burst) add(routes int) {
	if b.over != nil && b.over.Stop() { // it goes on
		b.over.Reset(burstOver)
		return
	}
	if b.routes += routes; b.routes < burstRoutes {
		return
	}
	b.routes = 0
	b.over = time.AfterFunc(burstOver, memory.GiveBack)
}
