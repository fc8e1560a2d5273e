package scale

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// reports writes statuses beside the loop, a few at a time, each object's newest only.
type reports struct {
	queue workqueue.TypedRateLimitingInterface[key]
	write func(context.Context, key) error
}

const reportWorkers = 4

func newReports(write func(context.Context, key) error) *reports {
	return &reports{
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](50*time.Millisecond, 30*time.Second)),
		write: write,
	}
}

func (r *reports) start(ctx context.Context, tasks *sync.WaitGroup) {
	context.AfterFunc(ctx, r.queue.ShutDown)
	for range reportWorkers {
		tasks.Go(func() {
			for r.next(ctx) {
			}
		})
	}
}

func (r *reports) next(ctx context.Context) bool {
	k, over := r.queue.Get()
	if over {
		return false
	}
	defer r.queue.Done(k)
	if err := r.write(ctx, k); err != nil && ctx.Err() == nil {
		r.queue.AddRateLimited(k)
		return true
	}
	r.queue.Forget(k)
	return true
}
