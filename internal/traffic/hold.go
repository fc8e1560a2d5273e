package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/types"
)

// sharedPlane is what the backends of one gateway share.
type sharedPlane struct {
	// signals hears of requests that wait and of pods that are reached. It may be nil.
	signals *signal.Store
	// hold is how long a request waits for the first ready pod of its backend.
	hold time.Duration
	// bodyGrace is slowBodyGrace, but for tests.
	bodyGrace time.Duration
	// streamIdle is streamIdle, but for tests.
	streamIdle time.Duration
	// held is how many requests wait, over all backends.
	held atomic.Int64
}

func newSharedPlane(signals *signal.Store, hold time.Duration) *sharedPlane {
	if hold <= 0 {
		hold = DefaultHold
	}
	return &sharedPlane{signals: signals, hold: min(hold, MaxHold), bodyGrace: slowBodyGrace, streamIdle: streamIdle}
}

// Why a request gets no endpoint.
var (
	// errNoEndpoint is a hold that ended, or a retry that found no other endpoint.
	errNoEndpoint = errors.New("no pod became ready in time")
	// errHoldFull is a request that would be one too many to wait.
	errHoldFull = errors.New("too many requests wait already")
)

// endpoint chooses an endpoint, and waits for one while the backend has none at all, or none but pods that are about to
// stop and were tried in vain. The error is errNoEndpoint, errHoldFull, errOverloaded, or the cause of the end of ctx.
func (b *backend) endpoint(ctx context.Context, tried []*endpoint) (*endpoint, error) {
	set := b.set.Load()
	if len(tried) > 0 && len(set.ready) == 0 {
		return b.wait(ctx, set, func(s *endpointSet) *endpoint { return lessLoaded(s.ready, tried) })
	}
	e, err := b.pick(tried)
	if errors.Is(err, errNoEndpoint) && len(tried) == 0 {
		return b.wait(ctx, set, func(s *endpointSet) *endpoint { return b.choose(s, nil) })
	}
	return e, err
}

// wait holds a request until there is an endpoint that choose takes.
func (b *backend) wait(ctx context.Context, set *endpointSet, choose func(*endpointSet) *endpoint) (*endpoint, error) {
	here, inAll := b.held.Add(1), b.shared.held.Add(1)
	defer b.held.Add(-1)
	defer b.shared.held.Add(-1)
	if here > maxHeld || inAll > maxHeldInAll {
		return nil, errHoldFull
	}
	b.counts.holds.Add(1)
	b.shared.signals.Held(types.NamespacedName{Namespace: b.key.Namespace, Name: b.key.Service})
	expired := time.NewTimer(b.holdTime())
	defer expired.Stop()
	client := unreadClient(ctx)
	look := client.looks()
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if client.left() {
				return nil, context.Canceled
			}
			continue
		case <-set.replaced:
		case <-expired.C:
			return nil, errNoEndpoint
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		set = b.set.Load()
		if e := choose(set); e != nil {
			return e, nil
		}
	}
}

// holdTime is how long requests wait for this backend: less where the signals know of no workload whose pods could come.
func (b *backend) holdTime() time.Duration {
	service := types.NamespacedName{Namespace: b.key.Namespace, Name: b.key.Service}
	if b.shared.signals != nil && len(b.shared.signals.Backends(service)) == 0 {
		return min(b.shared.hold, hopelessHold)
	}
	return b.shared.hold
}

// unavailable says why a backend took no request, and when to ask again.
func (b *backend) unavailable(err error) string {
	switch {
	case errors.Is(err, errHoldFull):
		return fmt.Sprintf("no pod of Service %q is ready, and as many requests wait for one as may", b.key)
	case errors.Is(err, errOverloaded):
		ready := len(b.set.Load().ready)
		return fmt.Sprintf("circuit breaker: Service %q has %d requests in flight, as many as its %d ready pods may have",
			b.key, maxInFlight(ready), ready)
	}
	return fmt.Sprintf("no pod of Service %q became ready within %s", b.key, b.holdTime())
}

// retryAfter is the value of Retry-After of an answer 503, in seconds.
const retryAfter = "1"
