// Command signals measures what it costs to keep the signals of many workloads: one process with a store, its recording,
// a data plane whose counters move, and a subscriber, that reads real cgroups. It prints one line for each number of
// workloads, while read each second and while nobody reads.
//
// It needs root, for the cgroups, which are empty: how long the kernel takes to read one does not depend on what is in it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	signals "github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/topology"
	"github.com/escale-dev/escale/internal/signal/usage"
	"github.com/escale-dev/escale/test/bench/platform"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

func main() {
	span := flag.Duration("span", 30*time.Second, "how long to measure each")
	pods := flag.Int("pods", 1, "pods of each workload")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println("machine:", platform.Machine())
	for _, n := range []int{500, 1000} {
		if err := run(ctx, n, *pods, *span); err != nil {
			fmt.Fprintln(os.Stderr, "signals:", err)
			os.Exit(1)
		}
	}
}

// group is the folder of this program's cgroups.
var group = fmt.Sprintf("escale-bench-%d", os.Getpid())

func run(ctx context.Context, workloads, pods int, span time.Duration) error {
	before := heap()
	remove, err := makeGroups(workloads * pods)
	if err != nil {
		return err
	}
	defer remove()
	dir, err := os.MkdirTemp("", "signals")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, err := usage.NewCgroups(func(_ string, c topology.Container) []string { return []string{filepath.Join(group, c.ID)} })
	if err != nil {
		return err
	}
	defer source.Close()
	index := cluster(workloads, pods)
	recorder := signals.NewFileRecorder(dir, slog.Default())
	reader := &timed{UsageReader: usage.NewTracker(source, index)}
	store := signals.New(signals.Config{Topology: index, Usage: reader, Recorder: recorder})
	store.AddTraffic(&plane{counters: make([]signals.Traffic, workloads)})

	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	// Nobody has read yet.
	idle := cpuDuring(ctx, span)
	ticks := store.Subscribe(ctx)
	<-ticks
	<-ticks
	reader.reset()
	busy := cpuDuring(ctx, span)
	read := reader.percentiles()
	memory := heap() - before
	cancel()
	if err := errors.Join(<-done, recorder.Close()); err != nil {
		return err
	}
	written, err := size(dir)
	if err != nil {
		return err
	}
	fmt.Printf("RESULT workloads=%d pods=%d cpu_percent=%.2f idle_cpu_percent=%.2f heap_mb=%.1f bound_mb=%.1f cgroups_read_p50_ms=%.1f cgroups_read_p99_ms=%.1f recorded_bytes_per_workload_minute=%.0f\n",
		workloads, workloads*pods, 100*busy, 100*idle, float64(memory)/(1<<20), float64(workloads*signals.BytesPerWorkload)/(1<<20),
		read[0].Seconds()*1000, read[1].Seconds()*1000, float64(written)/float64(workloads)/span.Minutes())
	return nil
}

// makeGroups makes empty cgroups, and returns what removes them.
func makeGroups(n int) (func(), error) {
	var roots []string
	if cgroups.IsCgroup2UnifiedMode() {
		roots = []string{"/sys/fs/cgroup"}
	} else {
		for _, c := range []string{"cpuacct", "memory"} {
			mount, err := cgroups.FindCgroupMountpoint("", c)
			if err != nil {
				return nil, err
			}
			roots = append(roots, mount)
		}
	}
	remove := func() {
		for _, root := range roots {
			for i := range n {
				_ = os.Remove(filepath.Join(root, group, id(i)))
			}
			_ = os.Remove(filepath.Join(root, group))
		}
	}
	for _, root := range roots {
		if err := os.Mkdir(filepath.Join(root, group), 0o755); err != nil {
			return nil, err
		}
		if root == "/sys/fs/cgroup" {
			if err := os.WriteFile(filepath.Join(root, group, "cgroup.subtree_control"), []byte("+cpu +memory"), 0o644); err != nil {
				remove()
				return nil, err
			}
		}
		for i := range n {
			if err := os.Mkdir(filepath.Join(root, group, id(i)), 0o755); err != nil {
				remove()
				return nil, err
			}
		}
	}
	return remove, nil
}

func id(i int) string { return fmt.Sprintf("c%d", i) }

// cluster is an index of workloads, each with its pods and a Service.
func cluster(workloads, pods int) *topology.Index {
	x := topology.NewIndex()
	for i := range workloads {
		name := fmt.Sprintf("w%d", i)
		selector := map[string]string{"app": name}
		meta := metav1.ObjectMeta{Namespace: fmt.Sprintf("team%d", i%20), Name: name, Labels: selector}
		x.SetWorkload(signals.Workload{Kind: "StatefulSet", Namespace: meta.Namespace, Name: name}, int32(pods), labels.Set(selector))
		x.SetService(&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: selector}})
		for p := range pods {
			x.SetPod(pod(meta, i*pods+p))
		}
	}
	return x
}

func pod(of metav1.ObjectMeta, n int) *corev1.Pod {
	controller := true
	name := fmt.Sprintf("%s-%d", of.Name, n)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: of.Namespace, Name: name, UID: types.UID(name), Labels: of.Labels,
			OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: of.Name, Controller: &controller}},
		},
		Spec: corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", ContainerID: "escale://" + id(n), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
}

// plane is a data plane through which every workload gets some requests.
type plane struct {
	counters []signals.Traffic
	source   *rand.Rand
}

// Traffic implements signals.TrafficSource.
func (p *plane) Traffic() []signals.Traffic {
	if p.source == nil {
		p.source = rand.New(rand.NewPCG(1, 2))
	}
	for i := range p.counters {
		c := &p.counters[i]
		c.Service = types.NamespacedName{Namespace: fmt.Sprintf("team%d", i%20), Name: fmt.Sprintf("w%d", i)}
		c.InFlight = int64(p.source.IntN(20))
		for range p.source.IntN(20) {
			c.Requests++
			c.Latency.Observe(time.Duration(p.source.ExpFloat64() * float64(20*time.Millisecond)))
		}
	}
	return slices.Clone(p.counters)
}

// timed measures how long reading takes.
type timed struct {
	signals.UsageReader
	mu   sync.Mutex
	took []time.Duration
}

// Usage implements signals.UsageReader.
func (t *timed) Usage(ctx context.Context) map[signals.Workload]signals.Usage {
	begun := time.Now()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.took = append(t.took, time.Since(begun))
	}()
	return t.UsageReader.Usage(ctx)
}

func (t *timed) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = nil
}

// percentiles are the 50th and the 99th.
func (t *timed) percentiles() [2]time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.took)
	if len(t.took) == 0 {
		return [2]time.Duration{}
	}
	return [2]time.Duration{t.took[len(t.took)/2], t.took[len(t.took)*99/100]}
}

// cpuDuring is the cores this process uses in a time.
func cpuDuring(ctx context.Context, span time.Duration) float64 {
	used, begun := cpu(), time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(span):
	}
	return (cpu() - used).Seconds() / time.Since(begun).Seconds()
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func size(dir string) (total int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}
