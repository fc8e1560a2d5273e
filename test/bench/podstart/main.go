// Command podstart measures how long pods take: 500 from created to bound to a node, and one by one from bound to
// running in the process runtime.
//
//	go run ./test/bench/podstart [-bind 500] [-start 50]
//
// Bound is when the scheduler's decision is seen in a watch; running is when a watch shows the container running, so
// the kubelet's report is part of the figure. The last line is RESULT key=value ….
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/test/bench/platform"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const namespace = "default"

func main() {
	bind := flag.Int("bind", 500, "pods to create at once and see bound")
	start := flag.Int("start", 50, "pods to start one by one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bind, *start); err != nil {
		fmt.Fprintln(os.Stderr, "podstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bind, start int) error {
	dir, err := os.MkdirTemp("", "podstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	p, err := platform.Start(dir)
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop() }()
	if _, err := p.Wait(ctx, platform.Ready); err != nil {
		return err
	}
	c, _, err := p.Client()
	if err != nil {
		return err
	}
	fmt.Println("machine:", platform.Machine())
	started, err := startOneByOne(ctx, c, start)
	if err != nil {
		return fmt.Errorf("starting pods: %w", err)
	}
	fmt.Printf("bound to running, %d pods one by one: median %s, 95th percentile %s, slowest %s\n", start, at(started, 50), at(started, 95), at(started, 100))
	created, bound, err := bindAtOnce(ctx, c, bind)
	if err != nil {
		return fmt.Errorf("binding pods: %w", err)
	}
	fmt.Printf("%d pods at once: created in %.2f s, all bound %.2f s later\n", bind, created.Seconds(), (bound - created).Seconds())
	fmt.Printf("RESULT start_median_ms=%d start_p95_ms=%d start_max_ms=%d start_pods=%d create_s=%.2f bound_after_create_s=%.2f create_to_bound_s=%.2f bind_pods=%d\n",
		at(started, 50).Milliseconds(), at(started, 95).Milliseconds(), at(started, 100).Milliseconds(), start, created.Seconds(), (bound - created).Seconds(), bound.Seconds(), bind)
	return nil
}

// at is a percentile of d, by the nearest rank.
func at(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[max(0, (len(d)*percent+99)/100-1)].Round(time.Millisecond)
}

func pod(name, image string, command ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"bench": "podstart"}},
		Spec: corev1.PodSpec{
			RuntimeClassName:              ptr.To(v1alpha1.RuntimeClassProcess),
			AutomountServiceAccountToken:  ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			SecurityContext:               &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](65532), RunAsNonRoot: ptr.To(true)},
			Containers: []corev1.Container{{
				Name: "main", Image: image, Command: command,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi"),
				}},
			}},
		},
	}
}

// startOneByOne creates pods, each after the one before runs, and measures from bound to running.
func startOneByOne(ctx context.Context, c kubernetes.Interface, n int) ([]time.Duration, error) {
	// The service account the pods run as is made by a controller.
	var took []time.Duration
	for i := range n {
		name := fmt.Sprintf("start-%d", i)
		w, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return nil, err
		}
		if err := create(ctx, c, pod(name, v1alpha1.HostImage, "sleep", "600")); err != nil {
			return nil, err
		}
		var bound time.Time
		for e := range w.ResultChan() {
			got, ok := e.Object.(*corev1.Pod)
			if !ok {
				return nil, fmt.Errorf("watching pod %q: %v", name, e.Object)
			}
			if bound.IsZero() && got.Spec.NodeName != "" {
				bound = time.Now()
			}
			if running(got) {
				took = append(took, time.Since(bound))
				break
			}
		}
		w.Stop()
		if len(took) != i+1 {
			return nil, errors.Join(fmt.Errorf("pod %q did not run", name), ctx.Err())
		}
		if err := c.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// create creates a pod, again while its namespace's service account does not exist yet.
func create(ctx context.Context, c kubernetes.Interface, p *corev1.Pod) error {
	for {
		_, err := c.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
}

// creators is how many clients create pods at the same time.
const creators = 20

// bindAtOnce creates n pods and returns how long that took, and how long until all were bound, both from the first
// creation. An informer sees them: it goes on where a watch is ended by a server that is busy.
func bindAtOnce(ctx context.Context, c kubernetes.Interface, n int) (created, took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(namespace))
	bound := map[string]bool{}
	all := make(chan struct{})
	see := func(object any) {
		p, ok := object.(*corev1.Pod)
		if !ok || p.Spec.NodeName == "" || bound[p.Name] || !strings.HasPrefix(p.Name, "bind-") {
			return
		}
		bound[p.Name] = true
		if len(bound) == n {
			close(all)
		}
	}
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, object any) { see(object) },
	}); err != nil {
		return 0, 0, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	begun := time.Now()
	if err := createAll(ctx, c, n); err != nil {
		return 0, 0, err
	}
	created = time.Since(begun)
	select {
	case <-all:
		return created, time.Since(begun), nil
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("waiting for %d pods to be bound: %w", n, ctx.Err())
	}
}

// createAll creates n pods with several clients at the same time.
func createAll(ctx context.Context, c kubernetes.Interface, n int) error {
	names := make(chan string, n)
	for i := range n {
		names <- fmt.Sprintf("bind-%d", i)
	}
	close(names)
	errs := make([]error, creators)
	var wg sync.WaitGroup
	for i := range creators {
		wg.Go(func() {
			for name := range names {
				if errs[i] = create(ctx, c, pod(name, v1alpha1.HostImage, "sleep", "600")); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
