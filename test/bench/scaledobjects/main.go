// Command scaledobjects measures what many ScaledObjects cost at rest: the CPU and memory of the scaler, and what they
// add to the control plane, while their triggers are read each second.
//
//	go run ./test/bench/scaledobjects [-objects 500] [-for 60s]
//
// What the Deployments cost that the objects scale is not counted: it is measured before the objects are made. The program
// starts a control plane without nodes in a temporary data directory, a Redis server and an HTTP server on free
// loopback ports, and runs the scaler in this process, so that its cost is its own. Of the objects, two fifths read a
// Redis list, two fifths a number over HTTP, one fifth the clock; every value changes once a minute, and the pods asked
// for with it. The last line is RESULT key=value ….
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/scale"
	facts "github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/test/bench/platform"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	objects := flag.Int("objects", 500, "ScaledObjects")
	during := flag.Duration("for", time.Minute, "how long the cost is measured")
	heap := flag.String("heap", "", "file to write a heap profile of the scaler to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *objects, *during, *heap); err != nil {
		fmt.Fprintln(os.Stderr, "scaledobjects:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n int, during time.Duration, heap string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fmt.Println("machine:", platform.Machine())
	dir, err := os.MkdirTemp("", "scaledobjects")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plane, cfg, err := controlPlane(ctx, dir)
	if err != nil {
		return err
	}
	defer stopProcess(plane)
	sources, err := startSources(ctx, dir)
	if err != nil {
		return err
	}
	defer stopProcess(sources.redis)
	c, err := startScaler(ctx, cfg)
	if err != nil {
		return err
	}
	if err := createAll(ctx, c, n, deployment); err != nil {
		return err
	}
	if err := pause(ctx, 30*time.Second); err != nil {
		return err
	}
	idle, err := measure(ctx, plane, during/2)
	if err != nil {
		return err
	}
	if err := createAll(ctx, c, n, sources.scaledObject); err != nil {
		return err
	}
	if err := awaitReady(ctx, c, n); err != nil {
		return err
	}
	if err := pause(ctx, 10*time.Second); err != nil {
		return err
	}
	reads := sources.reads.Load()
	busy, err := measure(ctx, plane, during)
	if err != nil {
		return err
	}
	report(n, idle, busy, float64(sources.reads.Load()-reads)/during.Seconds())
	return writeHeap(heap)
}

func writeHeap(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.WriteHeapProfile(f)
}

func report(n int, idle, busy cost, reads float64) {
	fmt.Printf("the scaler has %d goroutines more\n", busy.goroutines-idle.goroutines)
	fmt.Printf("%d ScaledObjects: scaler %.2f of a core and %d MB more; control plane %.2f of a core and %d MB more; %.0f HTTP reads a second\n",
		n, busy.scaler-idle.scaler, (busy.heap-idle.heap)>>20, busy.plane-idle.plane, (busy.planeRSS-idle.planeRSS)>>20, reads)
	fmt.Printf("RESULT objects=%d scaler_cores=%.3f scaler_mb=%d scaler_rss_mb=%d plane_cores=%.3f plane_mb=%d total_cores=%.3f http_reads_per_s=%.0f\n",
		n, busy.scaler-idle.scaler, (busy.heap-idle.heap)>>20, (busy.rss-idle.rss)>>20, busy.plane-idle.plane,
		(busy.planeRSS-idle.planeRSS)>>20, busy.scaler-idle.scaler+busy.plane-idle.plane, reads)
}

// controlPlane starts one without nodes and returns when it is ready.
func controlPlane(ctx context.Context, dir string) (*exec.Cmd, *rest.Config, error) {
	self, err := filepath.Abs("bin/escale")
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "controlplane", "--data-dir", filepath.Join(dir, "plane"), "--api-port", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w (run this program in the repository, after `make build`)", self, err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, nil, fmt.Errorf("waiting for the control plane: %w", err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(line))
	if err != nil {
		return nil, nil, err
	}
	cfg.QPS, cfg.Burst = 1000, 2000
	return cmd, cfg, nil
}

func stopProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// sources are the servers that triggers read.
type sources struct {
	redis       *exec.Cmd
	redisAt, at string
	reads       atomic.Int64
}

func startSources(ctx context.Context, dir string) (*sources, error) {
	s := &sources{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.at = l.Addr().String()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.reads.Add(1)
		_, _ = io.WriteString(w, fmt.Sprintf(`{"value":%d}`, 1+time.Now().Unix()/60%3))
	})}
	go func() { _ = server.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.redisAt = free.Addr().String()
	_, port, _ := net.SplitHostPort(s.redisAt)
	if err := free.Close(); err != nil {
		return nil, err
	}
	s.redis = exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err := s.redis.Start(); err != nil {
		return nil, fmt.Errorf("starting redis-server: %w (apt-get install redis-server)", err)
	}
	return s, nil
}

// startScaler runs the scaler in this process.
func startScaler(ctx context.Context, cfg *rest.Config) (client.Client, error) {
	log.SetLogger(logr.Discard())
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{clientscheme.AddToScheme, kedav1alpha1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	m, err := ctrl.NewManager(cfg, manager.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard()})
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	store := facts.New(facts.Config{Topology: facts.FixedTopology{}})
	if _, err := scale.Setup(scale.Deps{Manager: m, Kube: kube, Signals: store, Namespace: "default", Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	go func() { _ = store.Run(ctx) }()
	go func() { _ = m.Start(ctx) }()
	if !m.GetCache().WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("the caches did not fill")
	}
	return m.GetClient(), nil
}

// createAll makes n objects.
func createAll(ctx context.Context, c client.Client, n int, object func(i int) client.Object) error {
	for i := range n {
		if err := c.Create(ctx, object(i)); err != nil {
			return fmt.Errorf("creating object %d of %d: %w", i, n, err)
		}
	}
	return nil
}

func name(i int) string { return fmt.Sprintf("app-%03d", i) }

// deployment is a workload without pods, which costs the control plane nothing at rest.
func deployment(i int) client.Object {
	labels := map[string]string{"app": name(i)}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name(i), Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Paused: true,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "none"}}},
			},
		},
	}
}

func (s *sources) scaledObject(i int) client.Object {
	return &kedav1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Name: name(i), Namespace: "default"},
		Spec: kedav1alpha1.ScaledObjectSpec{
			ScaleTargetRef: &kedav1alpha1.ScaleTarget{Name: name(i)}, Triggers: []kedav1alpha1.ScaleTriggers{s.trigger(i)},
		},
	}
}

func (s *sources) trigger(i int) kedav1alpha1.ScaleTriggers {
	switch i % 5 {
	case 0, 1:
		return kedav1alpha1.ScaleTriggers{Type: "redis", Metadata: map[string]string{"address": s.redisAt, "listName": name(i), "listLength": "5"}}
	case 2, 3:
		return kedav1alpha1.ScaleTriggers{Type: "metrics-api", Metadata: map[string]string{
			"url": "http://" + s.at + "/" + name(i), "valueLocation": "value", "targetValue": "1",
		}}
	}
	return kedav1alpha1.ScaleTriggers{Type: "cron", Metadata: map[string]string{
		"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *", "desiredReplicas": "2",
	}}
}

func awaitReady(ctx context.Context, c client.Client, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		var list kedav1alpha1.ScaledObjectList
		if err := c.List(ctx, &list); err != nil {
			return err
		}
		ready := 0
		for i := range list.Items {
			if list.Items[i].Status.Conditions.Get(kedav1alpha1.ConditionReady).Status == metav1.ConditionTrue {
				ready++
			}
		}
		if ready == n {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%d of %d ScaledObjects are ready: %w", ready, n, err)
		}
	}
}

// cost is what the scaler, which is this process, and the control plane use.
type cost struct {
	scaler, plane       float64
	heap, rss, planeRSS int64
	goroutines          int
}

func measure(ctx context.Context, plane *exec.Cmd, during time.Duration) (cost, error) {
	mine, theirs := platform.ProcessUsage(os.Getpid()), platform.ProcessUsage(plane.Process.Pid)
	if err := pause(ctx, during); err != nil {
		return cost{}, err
	}
	after, theirsAfter := platform.ProcessUsage(os.Getpid()), platform.ProcessUsage(plane.Process.Pid)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cost{
		scaler: (after.CPU - mine.CPU).Seconds() / during.Seconds(), plane: (theirsAfter.CPU - theirs.CPU).Seconds() / during.Seconds(),
		heap: int64(m.HeapInuse + m.StackInuse), rss: after.RSS, planeRSS: theirsAfter.RSS, goroutines: runtime.NumGoroutine(),
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
