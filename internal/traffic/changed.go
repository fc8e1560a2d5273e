package traffic

import (
	"context"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const kindNamespace = "Namespace"

// changedObjects are the objects that changed since the last table.
type changedObjects struct {
	// named are routes, Services, namespaces, Secrets and ConfigMaps.
	named map[objectRef]bool
	// whole says that others changed, on which any route may depend.
	whole bool
}

// changedSet collects what changes until a table takes it in.
type changedSet struct {
	mu  sync.Mutex
	set changedObjects
}

func (c *changedSet) add(kind string, o client.Object) {
	c.addAll(changedObjects{named: map[objectRef]bool{{kind, nameOf(o)}: true}})
}

func (c *changedSet) everything() { c.addAll(changedObjects{whole: true}) }

func (c *changedSet) addAll(more changedObjects) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set.named == nil {
		c.set.named = map[objectRef]bool{}
	}
	maps.Copy(c.set.named, more.named)
	c.set.whole = c.set.whole || more.whole
}

// take empties the set.
func (c *changedSet) take() changedObjects {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.set
	c.set = changedObjects{}
	return taken
}

// gatherChanges reads the newest versions of what changed, and of the routes that it concerns. It returns false where
// routes cannot be told apart by whether it concerns them.
func (s *shell) gatherChanges(ctx context.Context, changed changedObjects) (Changes, bool, error) {
	ch := Changes{
		Routes: map[objectRef]*routeObject{}, Services: map[types.NamespacedName]*corev1.Service{}, Namespaces: map[string]*corev1.Namespace{},
	}
	services := map[types.NamespacedName]bool{}
	for ref := range changed.named {
		var err error
		switch ref.kind {
		case kindSecret, kindConfigMap:
			if s.compiled.dependsOn(reference(ref)) {
				return Changes{}, false, nil
			}
		case kindNamespace:
			ch.Namespaces[ref.name.Name], err = newest[corev1.Namespace](ctx, s.client, ref.name)
		case kindService:
			services[ref.name] = true
			ch.Services[ref.name], err = newest[corev1.Service](ctx, s.client, ref.name)
		default:
			ch.Routes[ref], err = s.newestRoute(ctx, ref)
		}
		if err != nil {
			return Changes{}, false, fmt.Errorf("reading %s %q: %w", ref.kind, ref.name, err)
		}
	}
	if len(services) == 0 {
		return ch, true, nil
	}
	for _, ref := range s.compiled.routesTo(services) {
		var err error
		if ch.Routes[ref], err = s.newestRoute(ctx, ref); err != nil {
			return Changes{}, false, fmt.Errorf("reading %s %q: %w", ref.kind, ref.name, err)
		}
	}
	return ch, true, nil
}

// newestRoute is nil for one that is gone.
func (s *shell) newestRoute(ctx context.Context, ref objectRef) (*routeObject, error) {
	switch ref.kind {
	case kindGRPCRoute:
		return routeFrom(ctx, s.client, ref.name, grpcObject)
	case kindTLSRoute:
		return routeFrom(ctx, s.client, ref.name, tlsObject)
	}
	return routeFrom(ctx, s.client, ref.name, httpObject)
}

func routeFrom[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c client.Reader, name types.NamespacedName, read func(P) *routeObject) (*routeObject, error) {
	o, err := newest[T, P](ctx, c, name)
	if o == nil || err != nil {
		return nil, err
	}
	return read(o), nil
}

// newest is an object as the cache has it, shared with it; nil for one that is gone.
func newest[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c client.Reader, name types.NamespacedName) (P, error) {
	o := P(new(T))
	err := c.Get(ctx, name, o, &client.GetOptions{UnsafeDisableDeepCopy: new(true)})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}
