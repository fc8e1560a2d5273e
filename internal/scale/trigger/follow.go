package trigger

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// slowest is the longest wait between two reads of a source that fails.
	slowest = 10 * time.Second
	// pushGap is the shortest wait between two reads: pushes that come faster are taken together.
	pushGap = 50 * time.Millisecond
)

// Observation is the outcome of one read.
type Observation struct {
	// Readings is nil when Err is not.
	Readings []Reading
	Err      error
	// Pushed says that the read was made because the server told of a change.
	Pushed bool
}

// Follow reads a source until ctx ends: at once, then every interval, and as soon as its server tells of a change.
// While reads fail the interval doubles, up to ten seconds, and is cut short by a push. It calls tell with each outcome,
// from one goroutine, and returns when that goroutine and the watch are over. It does not close the source.
func Follow(ctx context.Context, source Source, every time.Duration, tell func(Observation)) {
	changed := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if pusher, ok := source.(Pusher); ok {
			watch(ctx, pusher, every, changed)
		}
	}()
	defer func() { <-done }()
	failures, pushed := 0, false
	for ctx.Err() == nil {
		readings, err := source.Read(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		failures = count(failures, err)
		tell(Observation{Readings: readings, Err: err, Pushed: pushed})
		pushed = pause(ctx, wait(every, failures), changed)
	}
}

func count(failures int, err error) int {
	if err == nil {
		return 0
	}
	return failures + 1
}

// wait is how long to wait after so many failures in a row, within a tenth at random so that sources which failed
// together do not come back together.
func wait(every time.Duration, failures int) time.Duration {
	d := every
	for i := 1; i < failures && d < slowest; i++ {
		d *= 2
	}
	if failures == 0 {
		return d
	}
	d = max(every, min(d, slowest))
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}

// pause waits for the time or a change, and reports which it was.
func pause(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	gap := time.NewTimer(min(pushGap, d))
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-gap.C:
	}
	rest := time.NewTimer(max(0, d-pushGap))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
		return true
	case <-rest.C:
		return false
	}
}

// watch keeps a pusher's watch alive. A server that cannot push is not asked again.
func watch(ctx context.Context, pusher Pusher, every time.Duration, changed chan<- struct{}) {
	failures := 0
	for ctx.Err() == nil {
		err := pusher.Watch(ctx, func() {
			failures = 0
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if err == nil || errors.Is(err, ErrNoPush) {
			return
		}
		failures++
		pause(ctx, wait(every, failures), nil)
	}
}
