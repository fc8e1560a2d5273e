package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/escale-dev/escale/test/bench/platform"
)

var kinds = []string{"rabbitmq", "redis"}

// queues are the servers' addresses.
type queues struct{ rabbit, redis string }

type bench struct {
	queues
	config  *rest.Config
	kube    *kubernetes.Clientset
	objects *dynamic.DynamicClient
	home    string
	mu      sync.Mutex
}

func newBench(p *platform.Platform, q queues) (*bench, error) {
	kube, config, err := p.Client()
	if err != nil {
		return nil, err
	}
	plain := rest.CopyConfig(config)
	plain.ContentType, plain.AcceptContentTypes = "", ""
	objects, err := dynamic.NewForConfig(plain)
	return &bench{queues: q, config: config, kube: kube, objects: objects, home: p.Dir.Kubeconfig()}, err
}

// contend runs the rounds of one contender, on both queues at the same time: they share nothing but the machine.
func (b *bench) contend(ctx context.Context, c contender, results map[string]outcome) error {
	if !c.keda {
		if err := b.prepare(ctx, c); err != nil {
			return err
		}
	}
	var wait sync.WaitGroup
	failed := make([]error, len(kinds))
	for i, kind := range kinds {
		wait.Go(func() {
			got, err := b.rounds(ctx, c, kind)
			b.mu.Lock()
			defer b.mu.Unlock()
			results[c.name+" "+kind], failed[i] = got, err
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

func (b *bench) rounds(ctx context.Context, c contender, kind string) (outcome, error) {
	var got outcome
	for i := range c.rounds {
		if err := b.empty(ctx, c.namespace, kind); err != nil {
			return got, err
		}
		if err := b.atZero(ctx, c.namespace, kind); err != nil {
			return got, fmt.Errorf("%s: waiting for zero replicas: %w", kind, err)
		}
		// The scaler has just looked: from here its phase is known, and each round takes another part of it.
		wait := 2*time.Second + c.phase*time.Duration(2*i+1)/time.Duration(2*c.rounds)
		if err := sleep(ctx, wait); err != nil {
			return got, err
		}
		decided, running, err := b.round(ctx, c.namespace, kind)
		if err != nil {
			return got, fmt.Errorf("%s, round %d: %w", kind, i, err)
		}
		fmt.Printf("%s %s round %d: decision %s, running %s\n", c.name, kind, i, decided.Round(time.Millisecond), running.Round(time.Millisecond))
		got.decided, got.running = append(got.decided, decided), append(got.running, running)
	}
	return got, b.empty(ctx, c.namespace, kind)
}

// round publishes one message and watches what follows.
func (b *bench) round(ctx context.Context, namespace, kind string) (decided, running time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	deployments, err := b.kube.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + kind})
	if err != nil {
		return 0, 0, err
	}
	defer deployments.Stop()
	pods, err := b.kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "queue=" + kind})
	if err != nil {
		return 0, 0, err
	}
	defer pods.Stop()
	publish, end, err := b.publisher(ctx, namespace, kind)
	if err != nil {
		return 0, 0, err
	}
	defer end()
	begun := time.Now()
	if err := publish(); err != nil {
		return 0, 0, err
	}
	for decided == 0 || running == 0 {
		select {
		case <-ctx.Done():
			return decided, running, fmt.Errorf("decision after %s, running after %s: %w", decided, running, ctx.Err())
		case e := <-deployments.ResultChan():
			if replicasOf(e.Object) > 0 && decided == 0 {
				decided = time.Since(begun)
			}
		case e := <-pods.ResultChan():
			if pod, ok := e.Object.(*corev1.Pod); ok && runs(pod) && running == 0 {
				running = time.Since(begun)
			}
		}
	}
	return decided, running, nil
}

func runs(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// publisher connects first, so that connecting is no part of the figure.
func (b *bench) publisher(ctx context.Context, namespace, kind string) (publish func() error, end func(), err error) {
	if kind == "redis" {
		client := redis.NewClient(&redis.Options{Addr: b.redis})
		err := client.Ping(ctx).Err()
		return func() error { return client.RPush(ctx, namespace, "x").Err() }, func() { client.Close() }, err
	}
	channel, end, err := b.channel()
	if err != nil {
		return nil, nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, end, err
	}
	return func() error {
		confirmed, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", namespace, false, false, amqp.Publishing{Body: []byte("x")})
		if err != nil {
			return err
		}
		_, err = confirmed.WaitContext(ctx)
		return err
	}, end, nil
}

func (b *bench) channel() (*amqp.Channel, func(), error) {
	conn, err := amqp.Dial("amqp://guest:guest@" + b.rabbit + "/")
	if err != nil {
		return nil, nil, err
	}
	channel, err := conn.Channel()
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return channel, func() { conn.Close() }, nil
}

// empty takes the message away, as a worker would.
func (b *bench) empty(ctx context.Context, namespace, kind string) error {
	if kind == "redis" {
		client := redis.NewClient(&redis.Options{Addr: b.redis})
		defer client.Close()
		return client.Del(ctx, namespace).Err()
	}
	channel, end, err := b.channel()
	if err != nil {
		return err
	}
	defer end()
	if _, err := channel.QueueDeclare(namespace, true, false, false, false, nil); err != nil {
		return err
	}
	_, err = channel.QueuePurge(namespace, false)
	return err
}

// atZero waits until the workload has no replica and no pod.
func (b *bench) atZero(ctx context.Context, namespace, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		deployment, err := b.kube.AppsV1().Deployments(namespace).Get(ctx, kind, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := b.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "queue=" + kind})
		if err != nil {
			return err
		}
		if *deployment.Spec.Replicas == 0 && len(pods.Items) == 0 {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
