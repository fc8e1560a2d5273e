package traffic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// objectRef names an object whose status may have to be written.
type objectRef struct {
	kind string
	name types.NamespacedName
}

const (
	kindGatewayClass = "GatewayClass"
	// conflictDelay is about how long the cache takes to see a change.
	conflictDelay = 10 * time.Millisecond
)

// pending holds the newest statuses and queues the objects whose status they change.
type pending struct {
	mu     sync.Mutex
	latest Statuses
	queue  workqueue.TypedRateLimitingInterface[objectRef]
	// passive: another gateway writes them.
	passive bool
}

func newPending() *pending { return &pending{} }

// start is a source: it keeps the queue, and fills it with what was published before.
func (p *pending) start(_ context.Context, q workqueue.TypedRateLimitingInterface[objectRef]) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = q
	if !p.passive {
		p.enqueueAll()
	}
	return nil
}

// publish takes in new statuses, and queues those that differ from the ones before.
func (p *pending) publish(s Statuses) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.latest
	if p.queue != nil && !p.passive {
		p.enqueueChanged(before, s)
	}
	if s.Whole {
		p.latest = s
		return
	}
	maps.Copy(p.latest.Gateways, s.Gateways)
	maps.Copy(p.latest.ListenerSets, s.ListenerSets)
	maps.Copy(p.latest.Policies, s.Policies)
	for ref, r := range s.Routes {
		if r == nil {
			delete(p.latest.Routes, ref)
			continue
		}
		p.latest.Routes[ref] = r
	}
}

// enqueueAll queues all statuses; the caller holds mu.
func (p *pending) enqueueAll() { p.enqueueChanged(Statuses{}, p.latest) }

// enqueueChanged queues what differs from the statuses before; the caller holds mu.
func (p *pending) enqueueChanged(before, after Statuses) {
	for name, s := range after.Classes {
		if old, ok := before.Classes[name]; !ok || !equality.Semantic.DeepEqual(old, s) {
			p.queue.Add(objectRef{kindGatewayClass, types.NamespacedName{Name: name}})
		}
	}
	enqueueChanged(p.queue, kindGateway, before.Gateways, after.Gateways)
	enqueueChanged(p.queue, kindListenerSet, before.ListenerSets, after.ListenerSets)
	enqueueChanged(p.queue, kindPolicy, before.Policies, after.Policies)
	for ref, r := range after.Routes {
		if r != nil && !r.says(before.Routes[ref]) {
			p.queue.Add(ref)
		}
	}
}

func enqueueChanged[S any](q workqueue.TypedRateLimitingInterface[objectRef], kind string, before, after map[types.NamespacedName]S) {
	for name, s := range after {
		if old, ok := before[name]; !ok || !equality.Semantic.DeepEqual(old, s) {
			q.Add(objectRef{kind, name})
		}
	}
}

// says says whether the statuses of a route are those it had before. It does without reflection, because there are
// thousands.
func (r *routeState) says(before *routeState) bool {
	return before != nil && (r == before || slices.EqualFunc(before.statuses(), r.statuses(), sameParent))
}

// sameParent compares what Compile says of a parent. Its reference comes from the route's spec, so that the pointers are
// the same unless the route changed.
func sameParent(a, b gatewayv1.RouteParentStatus) bool {
	return a.ControllerName == b.ControllerName && slices.Equal(a.Conditions, b.Conditions) &&
		(a.ParentRef == b.ParentRef || equality.Semantic.DeepEqual(a.ParentRef, b.ParentRef))
}

// read looks at the newest statuses, which may change afterwards. There are none while another gateway writes them.
func (p *pending) read(look func(*Statuses)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passive {
		look(&Statuses{})
		return
	}
	look(&p.latest)
}

// route is what is to be said of a route.
func (p *pending) route(ref objectRef) *routeState {
	var r *routeState
	p.read(func(all *Statuses) { r = all.Routes[ref] })
	return r
}

func (s *shell) statusReconciler() reconcile.TypedReconciler[objectRef] {
	return reconcile.TypedFunc[objectRef](func(ctx context.Context, ref objectRef) (reconcile.Result, error) {
		var err error
		switch ref.kind {
		case kindGatewayClass:
			err = s.writeClass(ctx, ref.name)
		case kindGateway:
			err = s.writeGateway(ctx, ref.name)
		case kindListenerSet:
			err = s.writeListenerSet(ctx, ref.name)
		case kindPolicy:
			err = s.writePolicy(ctx, ref.name)
		case kindHTTPRoute:
			var o gatewayv1.HTTPRoute
			err = s.writeRoute(ctx, ref, &o, &o.Status.RouteStatus)
		case kindGRPCRoute:
			var o gatewayv1.GRPCRoute
			err = s.writeRoute(ctx, ref, &o, &o.Status.RouteStatus)
		case kindTLSRoute:
			var o gatewayv1.TLSRoute
			err = s.writeRoute(ctx, ref, &o, &o.Status.RouteStatus)
		}
		switch {
		case apierrors.IsNotFound(err): // deleted meanwhile
			return reconcile.Result{}, nil
		case apierrors.IsConflict(err): // the cache is behind: again when it is not
			return reconcile.Result{RequeueAfter: conflictDelay}, nil
		case err != nil:
			return reconcile.Result{}, fmt.Errorf("writing status of %s %q: %w", ref.kind, ref.name, err)
		}
		return reconcile.Result{}, nil
	})
}

func (s *shell) writeClass(ctx context.Context, name types.NamespacedName) error {
	var o gatewayv1.GatewayClass
	var want gatewayv1.GatewayClassStatus
	var ok bool
	s.statuses.read(func(all *Statuses) { want, ok = all.Classes[name.Name] })
	if err := s.client.Get(ctx, name, &o); err != nil || !ok {
		return err
	}
	before := o.Status
	want.Conditions = keepTimes(before.Conditions, want.Conditions)
	if equality.Semantic.DeepEqual(before, want) {
		return nil
	}
	o.Status = want
	return s.client.Status().Update(ctx, &o)
}

func (s *shell) writeGateway(ctx context.Context, name types.NamespacedName) error {
	var o gatewayv1.Gateway
	var want gatewayv1.GatewayStatus
	var ok bool
	s.statuses.read(func(all *Statuses) { want, ok = all.Gateways[name] })
	if err := s.client.Get(ctx, name, &o); err != nil || !ok {
		return err
	}
	before := o.Status
	want.Conditions = keepTimes(before.Conditions, want.Conditions)
	want.Listeners = slices.Clone(want.Listeners)
	for i := range want.Listeners {
		l := &want.Listeners[i]
		l.Conditions = keepTimes(listenerConditions(before.Listeners, l.Name), l.Conditions)
	}
	if equality.Semantic.DeepEqual(before, want) {
		return nil
	}
	o.Status = want
	if err := s.client.Status().Update(ctx, &o); err != nil {
		return err
	}
	s.recordAcceptance(objectRef{kindGateway, name}, before.Conditions, want.Conditions)
	return nil
}

func listenerConditions(listeners []gatewayv1.ListenerStatus, name gatewayv1.SectionName) []metav1.Condition {
	for _, l := range listeners {
		if l.Name == name {
			return l.Conditions
		}
	}
	return nil
}

func (s *shell) writeListenerSet(ctx context.Context, name types.NamespacedName) error {
	var o gatewayv1.ListenerSet
	var want gatewayv1.ListenerSetStatus
	var ok bool
	s.statuses.read(func(all *Statuses) { want, ok = all.ListenerSets[name] })
	if err := s.client.Get(ctx, name, &o); err != nil || !ok {
		return err
	}
	before := o.Status
	want.Conditions = keepTimes(before.Conditions, want.Conditions)
	want.Listeners = slices.Clone(want.Listeners)
	for i := range want.Listeners {
		l := &want.Listeners[i]
		var old []metav1.Condition
		for _, b := range before.Listeners {
			if b.Name == l.Name {
				old = b.Conditions
			}
		}
		l.Conditions = keepTimes(old, l.Conditions)
	}
	if equality.Semantic.DeepEqual(before, want) {
		return nil
	}
	o.Status = want
	if err := s.client.Status().Update(ctx, &o); err != nil {
		return err
	}
	s.recordAcceptance(objectRef{kindListenerSet, name}, before.Conditions, want.Conditions)
	return nil
}

// writeRoute writes this controller's part of the status of a route; status is that of object.
func (s *shell) writeRoute(ctx context.Context, ref objectRef, object client.Object, status *gatewayv1.RouteStatus) error {
	want := s.statuses.route(ref)
	if err := s.client.Get(ctx, ref.name, object); err != nil || want == nil {
		return err
	}
	before := status.Parents
	parents := mergeParents(before, want.statuses())
	if equality.Semantic.DeepEqual(before, parents) {
		return nil
	}
	status.Parents = parents
	if err := s.client.Status().Update(ctx, object); err != nil {
		return err
	}
	for i := range parents {
		if p := &parents[i]; p.ControllerName == ControllerName {
			s.recordAcceptance(ref, parentConditions(before, p.ParentRef), p.Conditions)
		}
	}
	return nil
}

func (s *shell) writePolicy(ctx context.Context, name types.NamespacedName) error {
	var o gatewayv1.BackendTLSPolicy
	var want []gatewayv1.PolicyAncestorStatus
	var ok bool
	s.statuses.read(func(all *Statuses) { want, ok = all.Policies[name] })
	if err := s.client.Get(ctx, name, &o); err != nil || !ok {
		return err
	}
	before := o.Status.Ancestors
	merged := []gatewayv1.PolicyAncestorStatus{}
	for _, a := range before {
		if a.ControllerName != ControllerName {
			merged = append(merged, a)
		}
	}
	for _, a := range want {
		var old []metav1.Condition
		for _, b := range before {
			if b.ControllerName == ControllerName && equality.Semantic.DeepEqual(b.AncestorRef, a.AncestorRef) {
				old = b.Conditions
			}
		}
		a.Conditions = keepTimes(old, a.Conditions)
		merged = append(merged, a)
	}
	if equality.Semantic.DeepEqual(before, merged) {
		return nil
	}
	o.Status.Ancestors = merged
	return s.client.Status().Update(ctx, &o)
}

// mergeParents replaces this controller's entries and keeps those of others, in their order.
func mergeParents(before, ours []gatewayv1.RouteParentStatus) []gatewayv1.RouteParentStatus {
	merged := []gatewayv1.RouteParentStatus{}
	for _, p := range before {
		if p.ControllerName != ControllerName {
			merged = append(merged, p)
		}
	}
	for _, p := range ours {
		p.Conditions = keepTimes(parentConditions(before, p.ParentRef), p.Conditions)
		merged = append(merged, p)
	}
	return merged
}

func parentConditions(parents []gatewayv1.RouteParentStatus, ref gatewayv1.ParentReference) []metav1.Condition {
	for _, p := range parents {
		if p.ControllerName == ControllerName && equality.Semantic.DeepEqual(p.ParentRef, ref) {
			return p.Conditions
		}
	}
	return nil
}

// keepTimes returns want, with the transition time of each condition that had the same status before, and now for the
// others. Conditions that are no longer wanted are gone.
func keepTimes(before, want []metav1.Condition) []metav1.Condition {
	now := metav1.Now()
	out := slices.Clone(want)
	for i := range out {
		out[i].LastTransitionTime = now
		if old := meta.FindStatusCondition(before, out[i].Type); old != nil && old.Status == out[i].Status {
			out[i].LastTransitionTime = old.LastTransitionTime
		}
	}
	return out
}
