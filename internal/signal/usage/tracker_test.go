package usage

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/apimachinery/pkg/types"
)

// scripted is a source whose readings a test writes.
type scripted struct{ reading Reading }

func (s *scripted) Read(context.Context, []*topology.Pod) Reading { return s.reading }

// podList is the pods of a test.
type podList struct{ pods []*topology.Pod }

func (p podList) Pods() ([]*topology.Pod, uint64) { return p.pods, uint64(len(p.pods)) }
func (p podList) Changes() uint64                 { return uint64(len(p.pods)) }

var (
	web   = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}
	begin = time.Unix(1_800_000_000, 0)
)

func tracker(s Source) *Tracker {
	pod := podOf("web", "main", "sidecar")
	pod.Workload = web
	t := NewTracker(s, nil)
	t.pods = podList{[]*topology.Pod{pod}}
	return t
}

// second is a reading after so many seconds of so many cores.
func second(i int, cores float64) Reading {
	at := begin.Add(time.Duration(i) * time.Second)
	cpu := time.Duration(float64(i) * cores * float64(time.Second))
	return Reading{Containers: []Sample{
		{Pod: "web", Container: "main", At: at, CPU: cpu, Memory: 1000},
		{Pod: "web", Container: "sidecar", At: at.Add(-100 * time.Millisecond), CPU: 0, Memory: 24},
	}}
}

func near(got, want float64) bool { return math.Abs(got-want) < 1e-6 }

func TestProcessorUseIsTheDifferenceOfTwoSamples(t *testing.T) {
	s := &scripted{second(0, .5)}
	tr := tracker(s)
	if u := tr.Usage(t.Context())[web]; u.CPU != 0 || u.Memory != 1024 || tr.Settled() {
		t.Errorf("after one sample: %+v, settled %v", u, tr.Settled())
	}
	if _, ok := tr.Pod(types.NamespacedName{Namespace: "shop", Name: "web"}); ok {
		t.Error("the metrics API tells the processor use of a pod seen once")
	}
	s.reading = second(1, .5)
	u := tr.Usage(t.Context())[web]
	if !near(u.CPU, .5) || !u.At.Equal(begin.Add(900*time.Millisecond)) || !tr.Settled() {
		t.Errorf("after two samples: %+v, settled %v; want half a core at the time of the older part", u, tr.Settled())
	}
}

func TestTheMetricsAPIAveragesOverTheWindow(t *testing.T) {
	s := &scripted{}
	tr := tracker(s)
	cpu := time.Duration(0)
	for i := range 20 {
		// One busy second in four.
		if i%4 == 0 {
			cpu += time.Second
		}
		s.reading = second(i, 0)
		s.reading.Containers[0].CPU = cpu
		tr.Usage(t.Context())
	}
	m, ok := tr.Pod(types.NamespacedName{Namespace: "shop", Name: "web"})
	if !ok || len(m.Containers) != 2 || m.Window != Window {
		t.Fatalf("%+v, %v", m, ok)
	}
	if cores := m.Containers[0].CPU; cores < .2 || cores > .4 {
		t.Errorf("%v cores, want about a quarter: one or two of five seconds", cores)
	}
	if n, ok := tr.Node("node-1"); !ok || n.Containers[0].Memory != 1024 || !near(n.Containers[0].CPU, m.Containers[0].CPU) {
		t.Errorf("the node uses %+v, want what its pods use", n)
	}
}

func TestSamplesThatDoNotAdvance(t *testing.T) {
	s := &scripted{second(0, 1)}
	tr := tracker(s)
	tr.Usage(t.Context())
	s.reading = second(1, 1)
	tr.Usage(t.Context())
	t.Run("the same report again is no new sample", func(t *testing.T) {
		if u := tr.Usage(t.Context())[web]; !near(u.CPU, 1) || !u.At.Equal(begin.Add(900*time.Millisecond)) {
			t.Errorf("%+v, want the use of the time it was reported", u)
		}
	})
	t.Run("a container that began anew has no rate until its second sample", func(t *testing.T) {
		s.reading = second(3, .01)
		if u := tr.Usage(t.Context())[web]; u.CPU != 0 {
			t.Errorf("%v cores", u.CPU)
		}
		s.reading = second(4, .01)
		if u := tr.Usage(t.Context())[web]; !near(u.CPU, .01) {
			t.Errorf("%v cores, want .01", u.CPU)
		}
	})
	t.Run("what the source no longer knows is forgotten", func(t *testing.T) {
		s.reading = Reading{}
		if u, ok := tr.Usage(t.Context())[web]; ok || len(tr.containers) != 0 {
			t.Errorf("%+v", u)
		}
		if _, ok := tr.Node("node-1"); ok {
			t.Error("a node whose pods are not known uses nothing")
		}
	})
}

func TestANodeIsWhatItsSourceSaysOfIt(t *testing.T) {
	s := &scripted{}
	tr := tracker(s)
	for i := range 3 {
		s.reading = second(i, .5)
		s.reading.Nodes = []NodeSample{{Node: "node-1", At: begin.Add(time.Duration(i) * time.Second), CPU: time.Duration(i) * 2 * time.Second, Memory: 1 << 30}}
		tr.Usage(t.Context())
	}
	if m, ok := tr.Node("node-1"); !ok || !near(m.Containers[0].CPU, 2) || m.Containers[0].Memory != 1<<30 {
		t.Errorf("%+v, %v", m, ok)
	}
	if m, ok := tr.Node("node-2"); !ok || m.Containers[0].CPU != 0 {
		t.Errorf("a node without pods: %+v, %v; want nothing used", m, ok)
	}
}
