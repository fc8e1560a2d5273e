package traffic

import (
	"sync"
	"time"
)

// The share of requests that may be sent again, as Finagle's RetryBudget and the Gateway API's XBackendTrafficPolicy
// (GEP-3388) have it by default: 20 percent of the requests of the last 10 seconds, and 10 more per second, so that a
// backend with few requests can have them repeated too. A backend that is in trouble thus gets at most a fifth more.
const (
	retryShare     = 0.2
	retryPerSecond = 10.0
	retryWindow    = 10 * time.Second
)

// retryBudget is what a backend has left of its retries. It looks at the number of requests only when one is to be
// sent again. The zero value is ready for use.
type retryBudget struct {
	mu       sync.Mutex
	retries  float64
	requests uint64
	at       time.Time
}

// take says whether one more request may be sent again; requests is how many there were so far.
func (b *retryBudget) take(requests uint64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	elapsed := retryWindow // before the first retry
	if !b.at.IsZero() {
		elapsed = now.Sub(b.at)
	}
	if requests < b.requests { // two counters, read one after the other
		requests = b.requests
	}
	b.retries = refill(b.retries, requests-b.requests, elapsed)
	b.requests = requests
	if elapsed > 0 { // else a later one was before this: time counts once
		b.at = now
	}
	if b.retries < 1 {
		return false
	}
	b.retries--
	return true
}

// refill is the number of retries left after some time in which requests came. What is older than the window does not
// count, and no more is kept than one window gives.
func refill(left float64, requests uint64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return left + retryShare*float64(requests)
	}
	within := min(elapsed, retryWindow)
	recent := float64(requests) * within.Seconds() / elapsed.Seconds()
	perWindow := recent * retryWindow.Seconds() / within.Seconds()
	earned := retryShare*recent + retryPerSecond*within.Seconds()
	return min(left+earned, retryShare*perWindow+retryPerSecond*retryWindow.Seconds())
}
