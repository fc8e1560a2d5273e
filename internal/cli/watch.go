package cli

import (
	"context"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/fsnotify/fsnotify"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// reopen is the pause before a watch that ended is opened again.
	reopen = time.Second
	// settle is how long changes are collected before they are looked at: one rollout is many.
	settle = 150 * time.Millisecond
)

// watchChanges signals that something a status is made from may have changed, until ctx ends: the platform's state file,
// nodes and what Apps consist of. It signals at least once.
func (e *env) watchChanges(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	p := e.target.place()
	if p.dir != "" {
		go watchState(ctx, p.dir, poke)
	}
	go e.watchCluster(ctx, poke)
	settled := make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(settle):
			case <-ctx.Done():
				return
			}
			select {
			case settled <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return settled
}

// watchState signals each change of the platform's state file. The file is replaced, so its folder is watched.
func watchState(ctx context.Context, dir engine.Dir, poke func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return // the cluster's changes are enough once it runs
	}
	defer func() { _ = w.Close() }()
	for w.Add(string(dir)) != nil {
		if !pause(ctx, reopen) { // the folder is not there yet
			return
		}
		poke()
	}
	for {
		select {
		case event := <-w.Events:
			if event.Name == dir.StateFile() {
				poke()
			}
		case <-w.Errors:
			poke() // changes may have been lost
		case <-ctx.Done():
			return
		}
	}
}

// watchCluster signals each change in the cluster, as soon as there is one.
func (e *env) watchCluster(ctx context.Context, poke func()) {
	c, err := e.connect(ctx)
	for err != nil {
		poke()
		if !pause(ctx, reopen) {
			return
		}
		c, err = e.connect(ctx)
	}
	for _, list := range []client.ObjectList{
		&v1alpha1.AppList{}, &appsv1.DeploymentList{}, &corev1.NodeList{}, &gatewayv1.HTTPRouteList{},
	} {
		go c.watchKind(ctx, list, poke)
	}
}

// watchKind signals each change of a kind, unless the cluster does not have it.
func (c *cluster) watchKind(ctx context.Context, list client.ObjectList, poke func()) {
	for {
		w, err := c.client.Watch(ctx, list)
		if meta.IsNoMatchError(err) {
			return
		}
		if err == nil {
			for range w.ResultChan() {
				poke()
			}
			w.Stop()
		}
		if !pause(ctx, reopen) {
			return
		}
	}
}

// pause waits; false means that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
