package usage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/apimachinery/pkg/types"
)

// machine is what a source reads, as a test has it. Each source shows it in its own way.
type machine interface {
	// run begins a container or changes what it has used.
	run(t *testing.T, pod, container string, cpu time.Duration, memory uint64)
	// end ends a container.
	end(t *testing.T, pod, container string)
	source() Source
	// settle returns when the source shows what was last changed.
	settle(t *testing.T, pods []*topology.Pod, shows func(Reading) bool) Reading
}

func podOf(name string, containers ...string) *topology.Pod {
	p := &topology.Pod{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}, UID: types.UID(name), Node: "node-1"}
	for _, c := range containers {
		p.Containers = append(p.Containers, topology.Container{Name: c, Runtime: "escale", ID: name + "-" + c})
	}
	return p
}

func used(r Reading) map[string]string {
	out := map[string]string{}
	for _, s := range r.Containers {
		out[string(s.Pod)+"/"+s.Container] = fmt.Sprint(s.CPU, " ", s.Memory)
	}
	return out
}

func is(want map[string]string) func(Reading) bool {
	return func(r Reading) bool { return fmt.Sprint(used(r)) == fmt.Sprint(want) }
}

// TestSources is what every source keeps to.
func TestSources(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) machine{
		"cgroups version 1": func(t *testing.T) machine { return newFiles(t, false) },
		"cgroups version 2": func(t *testing.T) machine { return newFiles(t, true) },
		"kubelet":           func(t *testing.T) machine { return newReports(t) },
		"both, of a container that has a cgroup": func(t *testing.T) machine {
			return &both{machine: newFiles(t, true), other: newReports(t)}
		},
		"both, of a container that has none": func(t *testing.T) machine {
			return &both{machine: newReports(t), other: newFiles(t, true)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			web, db := podOf("web", "main", "sidecar"), podOf("db", "main")
			m.run(t, "web", "main", 1500*time.Millisecond, 4096_000)
			m.run(t, "web", "sidecar", 20*time.Millisecond, 8192)
			m.run(t, "db", "main", time.Hour, 1<<33)
			m.run(t, "other", "main", time.Second, 1)

			before := time.Now()
			r := m.settle(t, []*topology.Pod{web, db}, is(map[string]string{
				"web/main": "1.5s 4096000", "web/sidecar": "20ms 8192", "db/main": "1h0m0s 8589934592",
			}))
			for _, s := range r.Containers {
				if s.At.Before(before.Add(-time.Minute)) || s.At.After(time.Now().Add(time.Second)) {
					t.Errorf("%s/%s was sampled at %v", s.Pod, s.Container, s.At)
				}
			}
			m.run(t, "web", "main", 2500*time.Millisecond, 4096)
			m.end(t, "web", "sidecar")
			m.settle(t, []*topology.Pod{web, db}, is(map[string]string{"web/main": "2.5s 4096", "db/main": "1h0m0s 8589934592"}))
			// A pod that is not asked for, and one that does not run, are absent.
			m.settle(t, []*topology.Pod{db, podOf("new", "main")}, is(map[string]string{"db/main": "1h0m0s 8589934592"}))
			m.end(t, "db", "main")
			m.settle(t, []*topology.Pod{db}, is(map[string]string{}))
		})
	}
}

// files is cgroups in a folder.
type files struct {
	dir     string
	unified bool
	cgroups *Cgroups
}

func newFiles(t *testing.T, unified bool) *files {
	f := &files{dir: t.TempDir(), unified: unified}
	l := legacyLayout(filepath.Join(f.dir, "cpuacct"), filepath.Join(f.dir, "memory"))
	if unified {
		l = unifiedLayout(f.dir)
	}
	f.cgroups = newCgroups(func(node string, c topology.Container) []string {
		return []string{filepath.Join("escale", node, c.ID), filepath.Join("k8s.io", c.ID)}
	}, l)
	t.Cleanup(func() {
		f.cgroups.Close()
		if len(f.cgroups.open) != 0 {
			t.Error("files stay open")
		}
	})
	return f
}

func (f *files) source() Source { return f.cgroups }

// group is the folder of a container; those of databases are containerd's.
func (f *files) group(pod, container string) string {
	if pod == "db" {
		return filepath.Join("k8s.io", pod+"-"+container)
	}
	return filepath.Join("escale", "node-1", pod+"-"+container)
}

func (f *files) run(t *testing.T, pod, container string, cpu time.Duration, memory uint64) {
	const cache = 12345
	group := f.group(pod, container)
	content := map[string]string{
		filepath.Join("cpuacct", group, "cpuacct.usage"):        fmt.Sprintln(cpu.Nanoseconds()),
		filepath.Join("memory", group, "memory.usage_in_bytes"): fmt.Sprintln(memory + cache),
		filepath.Join("memory", group, "memory.stat"):           fmt.Sprintf("cache 1\ninactive_file 7\ntotal_inactive_file %d\ntotal_active_file 3\n", cache),
	}
	if f.unified {
		content = map[string]string{
			filepath.Join(group, "cpu.stat"):       fmt.Sprintf("usage_usec %d\nuser_usec 1\n", cpu.Microseconds()),
			filepath.Join(group, "memory.current"): fmt.Sprintln(memory + cache),
			filepath.Join(group, "memory.stat"):    fmt.Sprintf("anon 1\ninactive_anon 9\ninactive_file %d\nactive_file 3\n", cache),
		}
	}
	for path, text := range content {
		path = filepath.Join(f.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// end empties the files as well: of a group that is gone the kernel lets nothing be read, not even from an open file.
func (f *files) end(t *testing.T, pod, container string) {
	for _, root := range []string{"", "cpuacct", "memory"} {
		dir := filepath.Join(f.dir, root, f.group(pod, container))
		all, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, file := range all {
			if err := os.Truncate(file, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *files) settle(t *testing.T, pods []*topology.Pod, shows func(Reading) bool) Reading {
	t.Helper()
	r := f.cgroups.Read(t.Context(), pods)
	if !shows(r) {
		t.Fatalf("read %v", used(r))
	}
	return r
}

// reports is a kubelet.
type reports struct {
	kubelet *Kubelet

	mu   sync.Mutex
	pods map[string]map[string]summaryContainer
}

func newReports(t *testing.T) *reports {
	r := &reports{pods: map[string]map[string]summaryContainer{}}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	r.kubelet = newKubelet(func(ctx context.Context, node string) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/"+node, nil)
		if err != nil {
			return nil, err
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}, 0, slog.New(slog.DiscardHandler))
	return r
}

func (r *reports) source() Source { return r.kubelet }

func (r *reports) serve(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type ref struct {
		UID string `json:"uid"`
	}
	type pod struct {
		Ref        ref                `json:"podRef"`
		Containers []summaryContainer `json:"containers"`
	}
	var out struct {
		Node summaryNode `json:"node"`
		Pods []pod       `json:"pods"`
	}
	n := uint64(time.Hour)
	out.Node = summaryNode{CPU: summaryCPU{Time: time.Now(), Used: &n}, Memory: summaryMemory{WorkingSet: &n}}
	for name, containers := range r.pods {
		p := pod{Ref: ref{name}}
		for _, c := range containers {
			c.CPU.Time = time.Now()
			p.Containers = append(p.Containers, c)
		}
		out.Pods = append(out.Pods, p)
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (r *reports) run(_ *testing.T, pod, container string, cpu time.Duration, memory uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods[pod] == nil {
		r.pods[pod] = map[string]summaryContainer{}
	}
	nanos := uint64(cpu)
	r.pods[pod][container] = summaryContainer{Name: container, CPU: summaryCPU{Used: &nanos}, Memory: summaryMemory{WorkingSet: &memory}}
}

func (r *reports) end(_ *testing.T, pod, container string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pods[pod], container)
}

func (r *reports) settle(t *testing.T, pods []*topology.Pod, shows func(Reading) bool) Reading {
	return settle(t, r.kubelet, pods, shows)
}

// settle reads until a source that asks in the background shows it.
func settle(t *testing.T, s Source, pods []*topology.Pod, shows func(Reading) bool) Reading {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r := s.Read(ctx, pods)
		if shows(r) {
			return r
		}
		select {
		case <-ctx.Done():
			t.Fatalf("read %v", used(r))
		case <-tick.C:
		}
	}
}

// both is Local with the containers in one of its two sources.
type both struct {
	machine
	other machine
}

func (b *both) settle(t *testing.T, pods []*topology.Pod, shows func(Reading) bool) Reading {
	var l Local
	for _, m := range []machine{b.machine, b.other} {
		switch s := m.source().(type) {
		case *Cgroups:
			l.Cgroups = s
		case *Kubelet:
			l.Kubelet = s
		}
	}
	return settle(t, l, pods, shows)
}

func TestAKubeletThatDoesNotAnswerKeepsWhatItSaidLastAndIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	answers := true
	asked := make(chan struct{})
	k := newKubelet(func(context.Context, string) (io.ReadCloser, error) {
		defer func() { asked <- struct{}{} }()
		if !answers {
			return nil, fmt.Errorf("no route")
		}
		return io.NopCloser(strings.NewReader(`{"pods":[{"podRef":{"uid":"web"},"containers":[{"name":"main","cpu":{"time":"2026-11-21T10:00:00Z","usageCoreNanoSeconds":5}}]}]}`)), nil
	}, 0, slog.New(slog.NewTextHandler(&log, nil)))
	pods := []*topology.Pod{podOf("web", "main")}
	k.Read(t.Context(), pods)
	<-asked
	settle(t, readOnly{k}, pods, func(r Reading) bool { return len(r.Containers) == 1 })
	answers = false
	for range 3 {
		settle(t, readOnly{k}, pods, func(Reading) bool { k.mu.Lock(); defer k.mu.Unlock(); return !k.nodes["node-1"].asking })
		k.Read(t.Context(), pods)
		<-asked
	}
	r := settle(t, readOnly{k}, pods, func(Reading) bool { k.mu.Lock(); defer k.mu.Unlock(); return !k.nodes["node-1"].asking })
	if len(r.Containers) != 1 || r.Containers[0].At.Year() != 2026 {
		t.Errorf("what is known of the node is %v", r)
	}
	if n := strings.Count(log.String(), "no route"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, log.String())
	}
}

// readOnly reads a kubelet's last report without asking for another.
type readOnly struct{ *Kubelet }

func (r readOnly) Read(_ context.Context, pods []*topology.Pod) Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out Reading
	for _, p := range pods {
		if n := r.nodes[p.Node]; n != nil {
			out.Containers = append(out.Containers, n.containers[p.UID]...)
		}
	}
	return out
}

func TestFilesOfManyFormsAreReadOrRefused(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"usage_usec 12\nuser_usec 3\n": 12 * time.Microsecond, "user_usec 3\nusage_usec 4": 4 * time.Microsecond,
	} {
		if got, ok := parseCPUStat([]byte(text)); !ok || got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "user_usec 3\n", "xusage_usec 3\n"} {
		if got, ok := parseCPUStat([]byte(text)); ok {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func FuzzSummary(f *testing.F) {
	f.Add([]byte(`{"node":{"cpu":{"time":"2026-11-21T10:00:00Z","usageCoreNanoSeconds":5}},"pods":[{"podRef":{"uid":"a"},"containers":[{"name":"b"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSummary(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		_, containers := s.samples("node-1")
		for _, all := range containers {
			for _, c := range all {
				if c.At.IsZero() {
					t.Error("a sample has no time")
				}
			}
		}
	})
}
