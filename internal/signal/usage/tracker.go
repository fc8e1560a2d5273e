package usage

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Window is what the metrics API averages processor use over: long enough that one busy second does not move an
	// autoscaler, short enough that it sees a peak within seconds.
	Window = 5 * time.Second
	// kept samples of a container reach back over the window at one a second.
	kept = 7
	// minSpan is how far apart two samples must be for a rate.
	minSpan = 300 * time.Millisecond
)

// Tracker turns what a source reads into rates. It implements signal.UsageReader.
type Tracker struct {
	source Source
	pods   interface {
		Pods() ([]*topology.Pod, uint64)
		Changes() uint64
	}

	mu         sync.RWMutex
	list       []*topology.Pod
	changes    uint64
	fresh      bool
	containers map[containerKey]*track
	nodes      map[string]*track
	byPod      map[types.NamespacedName]*topology.Pod
	round      uint64
}

type containerKey struct {
	pod  types.UID
	name string
}

// track is the last samples of one counter, in a ring.
type track struct {
	at     [kept]time.Time
	cpu    [kept]time.Duration
	n      int // how many are kept
	newest int
	memory uint64
	round  uint64
}

// NewTracker asks source about the pods of an index.
func NewTracker(source Source, pods *topology.Index) *Tracker {
	return &Tracker{
		source: source, pods: pods, containers: map[containerKey]*track{}, nodes: map[string]*track{},
		byPod: map[types.NamespacedName]*topology.Pod{},
	}
}

// add notes a sample. The same one again changes nothing; a counter that is lower than before has begun anew.
func (t *track) add(at time.Time, cpu time.Duration, memory uint64) {
	t.memory = memory
	if t.n > 0 && !at.After(t.at[t.newest]) {
		return
	}
	if t.n > 0 && cpu < t.cpu[t.newest] {
		t.n = 0
	}
	t.newest = (t.newest + 1) % kept
	t.at[t.newest], t.cpu[t.newest] = at, cpu
	t.n = min(t.n+1, kept)
}

// rate is the cores used between the newest sample and the youngest one that is at least span older, or the oldest there
// is; false when there are not two.
func (t *track) rate(span time.Duration) (cores float64, window time.Duration, ok bool) {
	for back := 1; back < t.n; back++ {
		i := (t.newest - back + kept) % kept
		window = t.at[t.newest].Sub(t.at[i])
		if window >= span || back == t.n-1 && window >= minSpan {
			return (t.cpu[t.newest] - t.cpu[i]).Seconds() / window.Seconds(), window, true
		}
	}
	return 0, 0, false
}

// Usage implements signal.UsageReader. The processor use of a container counts from its second sample on.
func (t *Tracker) Usage(ctx context.Context) map[signal.Workload]signal.Usage {
	t.refreshPods()
	reading := t.source.Read(ctx, t.list)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round++
	for _, s := range reading.Containers {
		t.noteLocked(s)
	}
	for _, s := range reading.Nodes {
		n := t.nodes[s.Node]
		if n == nil {
			n = &track{}
			t.nodes[s.Node] = n
		}
		n.round = t.round
		n.add(s.At, s.CPU, s.Memory)
	}
	t.forgetLocked()
	return t.sumLocked()
}

// refreshPods takes the list of pods anew when it has changed.
func (t *Tracker) refreshPods() {
	if t.fresh && t.pods.Changes() == t.changes {
		return
	}
	list, changes := t.pods.Pods()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list, t.changes, t.fresh = list, changes, true
	clear(t.byPod)
	for _, p := range list {
		t.byPod[p.NamespacedName] = p
	}
}

func (t *Tracker) noteLocked(s Sample) {
	key := containerKey{s.Pod, s.Container}
	c := t.containers[key]
	if c == nil {
		c = &track{}
		t.containers[key] = c
	}
	c.round = t.round
	c.add(s.At, s.CPU, s.Memory)
}

// forgetLocked drops what the source did not know this time.
func (t *Tracker) forgetLocked() {
	for key, c := range t.containers {
		if c.round != t.round {
			delete(t.containers, key)
		}
	}
	for name, n := range t.nodes {
		if n.round != t.round {
			delete(t.nodes, name)
		}
	}
}

func (t *Tracker) sumLocked() map[signal.Workload]signal.Usage {
	out := map[signal.Workload]signal.Usage{}
	for _, p := range t.list {
		if p.Workload == (signal.Workload{}) {
			continue
		}
		u, known := out[p.Workload], false
		for i := range p.Containers {
			c := t.containers[containerKey{p.UID, p.Containers[i].Name}]
			if c == nil {
				continue
			}
			known = true
			cores, _, _ := c.rate(minSpan)
			u.CPU += cores
			u.Memory += float64(c.memory)
			if at := c.at[c.newest]; u.At.IsZero() || at.Before(u.At) {
				u.At = at
			}
		}
		if known {
			out[p.Workload] = u
		}
	}
	return out
}

// Measured is what a pod or a node uses.
type Measured struct {
	Name types.NamespacedName
	// At is the end of the window that the processor use is the mean of.
	At     time.Time
	Window time.Duration
	// Containers of a pod; a node has one without a name.
	Containers []MeasuredContainer
}

// MeasuredContainer is what a container uses: cores, and bytes of the working set.
type MeasuredContainer struct {
	Name   string
	CPU    float64
	Memory uint64
}

// Pod is what a pod uses; false when it is not known, or one of its containers has been seen less than twice.
func (t *Tracker) Pod(name types.NamespacedName) (Measured, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := t.byPod[name]
	if p == nil {
		return Measured{}, false
	}
	return t.podLocked(p)
}

func (t *Tracker) podLocked(p *topology.Pod) (Measured, bool) {
	m := Measured{Name: p.NamespacedName}
	for i := range p.Containers {
		c := t.containers[containerKey{p.UID, p.Containers[i].Name}]
		if c == nil {
			return m, false
		}
		cores, window, ok := c.rate(Window)
		if !ok {
			return m, false
		}
		m.add(p.Containers[i].Name, c, cores, window)
	}
	return m, len(m.Containers) > 0
}

// add notes a container; the whole is as old as the oldest part.
func (m *Measured) add(name string, c *track, cores float64, window time.Duration) {
	m.Containers = append(m.Containers, MeasuredContainer{Name: name, CPU: cores, Memory: c.memory})
	if at := c.at[c.newest]; m.At.IsZero() || at.Before(m.At) {
		m.At, m.Window = at, window
	}
}

// Pods is what the pods use of which all is known, in order; of all namespaces for "".
func (t *Tracker) Pods(namespace string) []Measured {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Measured
	for _, p := range t.list {
		if namespace != "" && p.Namespace != namespace {
			continue
		}
		if m, ok := t.podLocked(p); ok {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Measured) int {
		return cmp.Or(cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	return out
}

// Node is what a node uses: what its source says of it, or what its pods use together; false when neither is known. The
// time of a node without pods is that of the call.
func (t *Tracker) Node(name string) (Measured, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m := Measured{Name: types.NamespacedName{Name: name}}
	if n := t.nodes[name]; n != nil {
		if cores, window, ok := n.rate(Window); ok {
			m.add("", n, cores, window)
			return m, true
		}
	}
	var sum MeasuredContainer
	running := false
	for _, p := range t.list {
		if p.Node != name {
			continue
		}
		running = running || len(p.Containers) > 0
		pod, _ := t.podLocked(p)
		for _, c := range pod.Containers {
			sum.CPU += c.CPU
			sum.Memory += c.Memory
		}
		if !pod.At.IsZero() && (m.At.IsZero() || pod.At.Before(m.At)) {
			m.At, m.Window = pod.At, pod.Window
		}
	}
	m.Containers = []MeasuredContainer{sum}
	if m.At.IsZero() {
		m.At, m.Window = time.Now(), Window
		return m, !running
	}
	return m, true
}

// Settled is whether the processor use of every container that the source knows is known.
func (t *Tracker) Settled() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.round == 0 {
		return false
	}
	for _, c := range t.containers {
		if _, _, ok := c.rate(minSpan); !ok {
			return false
		}
	}
	return true
}
