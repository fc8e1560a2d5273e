package traffic

import "errors"

// The circuit breaker of a backend has two parts, as Envoy's has (max_requests and max_pending_requests): how many
// requests are at its pods, and how many wait because it has none (maxHeld).
const (
	// inFlightPerPod is how many requests one ready pod may have, on average.
	inFlightPerPod = 2048
	// inFlightAtLeast is how many a backend may have, however few its pods.
	inFlightAtLeast = 8192
)

// errOverloaded is a request that would be one too many at its backend.
var errOverloaded = errors.New("too many requests are in flight")

// maxInFlight is how many requests a backend with so many ready pods may have.
func maxInFlight(ready int) int64 {
	return max(inFlightAtLeast, int64(ready)*inFlightPerPod)
}

// atPods is how many requests the breaker counts: those that do not wait, and are no upgraded connections.
func (b *backend) atPods() int64 {
	return b.counts.inFlight.Load() - b.held.Load() - b.counts.conversations.Load()
}
