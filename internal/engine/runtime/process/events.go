package process

import (
	"context"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// events hands each change to every listener, in order and without loss: the kubelet takes its picture of a pod from
// them and looks for itself only rarely.
type events struct {
	mu        sync.Mutex
	listeners map[*listener]struct{}
}

// listener has a queue of its own without a bound, so that a slow one holds up neither the runtime nor the others.
type listener struct {
	mu    sync.Mutex
	queue []*runtimeapi.ContainerEventResponse
	wake  chan struct{}
}

func (e *events) publish(ev *runtimeapi.ContainerEventResponse) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.listeners {
		l.push(ev)
	}
}

func (l *listener) push(ev *runtimeapi.ContainerEventResponse) {
	l.mu.Lock()
	l.queue = append(l.queue, ev)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) take() []*runtimeapi.ContainerEventResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue
	l.queue = nil
	return q
}

// listen registers at once; the returned function delivers until ctx ends.
func (e *events) listen(ctx context.Context, to chan<- *runtimeapi.ContainerEventResponse) (deliver func()) {
	l := &listener{wake: make(chan struct{}, 1)}
	e.mu.Lock()
	if e.listeners == nil {
		e.listeners = map[*listener]struct{}{}
	}
	e.listeners[l] = struct{}{}
	e.mu.Unlock()
	return func() {
		defer e.drop(l)
		for {
			for _, ev := range l.take() {
				select {
				case to <- ev:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-l.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (e *events) drop(l *listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
}

// Events returns what happens from now on to sandboxes and containers; the channel is closed when ctx ends.
func (r *Runtime) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse {
	ch := make(chan *runtimeapi.ContainerEventResponse)
	deliver := r.events.listen(ctx, ch)
	go func() {
		defer close(ch)
		deliver()
	}()
	return ch
}

// GetContainerEvents sends what happens from now on to ch until ctx ends or the runtime is closed. The callback gets
// nil: there is no connection.
func (r *Runtime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse, connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	deliver := r.events.listen(ctx, ch)
	if connected != nil {
		connected(nil)
	}
	deliver()
	return ctx.Err()
}
