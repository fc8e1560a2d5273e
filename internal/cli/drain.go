package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// evictAgain is the pause after which a pod that its disruption budget kept is asked to go again.
const evictAgain = time.Second

// drainNode cordons a node and evicts its pods, each a row of the board. It follows kubectl's rules, but not its code:
// that package brings Kustomize along, which made the program a third larger.
func (e *env) drainNode(ctx context.Context, b *board, name string, o drainOptions) error {
	c, err := e.connect(ctx)
	if err != nil {
		return err
	}
	node, err := c.node(ctx, name)
	if err != nil {
		return err
	}
	row := "node " + name
	if err := c.setCordon(ctx, node, true); err != nil {
		return err
	}
	b.set(row, "cordoned", working)
	selector := fields.OneTermEqualSelector("spec.nodeName", name).String()
	list, err := c.clientset.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return fmt.Errorf("listing the pods of node %q: %w", name, err)
	}
	pods, err := toEvict(list.Items, o.force)
	if err != nil {
		b.set(row, "cordoned, its pods stay", broken)
		return withNext(fmt.Errorf("draining node %q: %w", name, err),
			"--force ends such pods; `escale node uncordon %s` takes the node back", name)
	}
	b.set(row, fmt.Sprintf("moving %d pods", len(pods)), working)
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("it has not gone after %s", o.timeout))
	defer cancel()
	if err := c.evictAll(ctx, b, pods); err != nil {
		b.set(row, "cordoned, some pods stay", broken)
		return withNext(fmt.Errorf("draining node %q: %w", name, err), "`escale status` shows what is not ready; --timeout waits longer")
	}
	return nil
}

// toEvict chooses the pods that have to leave a node: not those of the node itself and of DaemonSets, which would come
// back at once. A pod that nothing would start again elsewhere is an error, unless it is to go by force.
func toEvict(pods []corev1.Pod, force bool) ([]corev1.Pod, error) {
	var out []corev1.Pod
	var errs []error
	for _, p := range pods {
		owner := metav1.GetControllerOf(&p)
		_, ofTheNode := p.Annotations[corev1.MirrorPodAnnotationKey]
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		switch {
		case ofTheNode, owner != nil && owner.Kind == "DaemonSet":
		case owner == nil && !force && !over && p.DeletionTimestamp == nil:
			errs = append(errs, fmt.Errorf("nothing would start pod %q of namespace %q again", p.Name, p.Namespace))
		default:
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}

// evictAll evicts pods side by side and waits until they have gone.
func (c *cluster) evictAll(ctx context.Context, b *board, pods []corev1.Pod) error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() {
			p, row := &pods[i], "pod "+pods[i].Name
			b.set(row, "moving", working)
			if err := c.evict(ctx, b, row, p); err != nil {
				errs[i] = fmt.Errorf("pod %q of namespace %q: %w", p.Name, p.Namespace, err)
				b.set(row, err.Error(), broken)
				return
			}
			b.set(row, "moved", done)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// evict asks for one pod to go, as often as its disruption budget says no, and waits until it has gone.
func (c *cluster) evict(ctx context.Context, b *board, row string, p *corev1.Pod) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
	}
	for {
		err := c.clientset.CoreV1().Pods(p.Namespace).EvictV1(ctx, eviction)
		switch {
		case err == nil:
			return c.waitPodGone(ctx, p)
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // it has gone, or another has its name
			return nil
		case !apierrors.IsTooManyRequests(err):
			return cmp.Or(context.Cause(ctx), err)
		}
		b.set(row, "waiting: its disruption budget keeps it for now", working)
		if !pause(ctx, evictAgain) {
			return context.Cause(ctx)
		}
	}
}

// waitPodGone returns when the pod does not exist any more.
func (c *cluster) waitPodGone(ctx context.Context, p *corev1.Pod) error {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, p.Name).String()
	for {
		// The watch begins before the look, so that no end is missed between them.
		w, err := c.clientset.CoreV1().Pods(p.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		for {
			now, err := c.clientset.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) || (err == nil && now.UID != p.UID) {
				w.Stop()
				return nil
			}
			if !changed(ctx, w.ResultChan()) {
				break
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// setCordon sets whether a node takes new pods.
func (c *cluster) setCordon(ctx context.Context, node *corev1.Node, cordon bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordon)
	_, err := c.clientset.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "escale"})
	if err != nil {
		return fmt.Errorf("changing node %q: %w", node.Name, err)
	}
	return nil
}
