package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Watch calls changed with a pod's uid whenever the kubelet should look at the pod now, until ctx ends.
func (r *Router) Watch(ctx context.Context, changed func(uid string)) error {
	r.changed.Store(&changed)
	events := make(chan *runtimeapi.ContainerEventResponse, 256)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			if e.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
				r.notify(e.GetPodSandboxStatus().GetMetadata().GetUid())
			}
		}
	}()
	err := r.process.GetContainerEvents(ctx, events, nil)
	close(events)
	<-done
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching containers: %w", err)
}

func (r *Router) notify(uid string) {
	if f := r.changed.Load(); f != nil && uid != "" {
		(*f)(uid)
	}
}

// open lets a start pass unless the node is draining. Then it holds the kubelet until the process ends: an error would
// become an event on every pod.
func (r *Router) open(ctx context.Context) error {
	select {
	case <-r.draining:
		<-ctx.Done()
		return context.Cause(ctx)
	default:
		return nil
	}
}

// Drain lets nothing start any more, and stops and removes every pod. Containers have until grace seconds; ctx bounds
// the whole.
func (r *Router) Drain(ctx context.Context, grace int64) error {
	r.mu.Lock()
	select {
	case <-r.draining:
	default:
		close(r.draining)
	}
	r.mu.Unlock()
	containers, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	err = errors.Join(err, each(containers, func(c *runtimeapi.Container) error {
		return r.StopContainer(ctx, c.GetId(), grace)
	}))
	sandboxes, lerr := r.ListPodSandbox(ctx, nil)
	return errors.Join(err, lerr, each(sandboxes, func(s *runtimeapi.PodSandbox) error {
		if err := r.StopPodSandbox(ctx, s.GetId()); err != nil {
			return fmt.Errorf("stopping pod %q: %w", s.GetMetadata().GetName(), err)
		}
		return r.RemovePodSandbox(ctx, s.GetId())
	}))
}

// each calls f for all items at once and waits.
func each[T any](items []T, f func(T) error) error {
	errs := make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { errs[i] = f(item) })
	}
	all.Wait()
	return errors.Join(errs...)
}
