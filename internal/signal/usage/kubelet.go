package usage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal/topology"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const (
	// KubeletPace is how often a kubelet is asked at most. Kubelets gather what they report about every ten seconds.
	KubeletPace = 10 * time.Second
	// kubeletsAtOnce bounds how many are asked at a time.
	kubeletsAtOnce = 4
	kubeletTimeout = 5 * time.Second
	// maxSummary is more than a kubelet with a thousand containers reports.
	maxSummary = 32 << 20
)

// Kubelet reads what kubelets report at /stats/summary, through the API server's proxy. It asks in the background: Read
// returns what was reported last, with its age.
type Kubelet struct {
	// fetch returns a node's summary.
	fetch func(ctx context.Context, node string) (io.ReadCloser, error)
	pace  time.Duration
	log   *slog.Logger
	slots chan struct{}

	mu    sync.Mutex
	nodes map[string]*kubeletNode
}

// kubeletNode is what is known of one node.
type kubeletNode struct {
	asked      time.Time
	asking     bool
	failed     bool
	node       NodeSample
	containers map[types.UID][]Sample
}

// NewKubelet asks through a client of the core API group.
func NewKubelet(core rest.Interface, log *slog.Logger) *Kubelet {
	return newKubelet(func(ctx context.Context, node string) (io.ReadCloser, error) {
		return core.Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats/summary").
			Param("only_cpu_and_memory", "true").Stream(ctx)
	}, KubeletPace, log)
}

func newKubelet(fetch func(context.Context, string) (io.ReadCloser, error), pace time.Duration, log *slog.Logger) *Kubelet {
	return &Kubelet{
		fetch: fetch, pace: pace, log: log, slots: make(chan struct{}, kubeletsAtOnce), nodes: map[string]*kubeletNode{},
	}
}

// Read implements Source.
func (k *Kubelet) Read(ctx context.Context, pods []*topology.Pod) Reading {
	var out Reading
	now := time.Now()
	wanted := map[string]bool{}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range pods {
		if p.Node == "" {
			continue
		}
		wanted[p.Node] = true
		if n := k.nodes[p.Node]; n != nil {
			out.Containers = append(out.Containers, n.containers[p.UID]...)
		}
	}
	for name := range wanted {
		n := k.nodes[name]
		if n == nil {
			n = &kubeletNode{}
			k.nodes[name] = n
		}
		if !n.node.At.IsZero() {
			out.Nodes = append(out.Nodes, n.node)
		}
		if !n.asking && now.Sub(n.asked) >= k.pace {
			n.asked, n.asking = now, true
			go k.ask(context.WithoutCancel(ctx), name, n)
		}
	}
	for name := range k.nodes {
		if !wanted[name] {
			delete(k.nodes, name)
		}
	}
	return out
}

// ask fetches the summary of a node. A node that does not answer keeps what it said last, which grows old.
func (k *Kubelet) ask(ctx context.Context, name string, n *kubeletNode) {
	k.slots <- struct{}{}
	defer func() { <-k.slots }()
	ctx, cancel := context.WithTimeout(ctx, kubeletTimeout)
	defer cancel()
	s, err := k.summary(ctx, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	n.asking = false
	if err == nil {
		n.node, n.containers = s.samples(name)
	} else if !n.failed {
		k.log.Warn("usage of a node not read", "node", name, "err", err)
	}
	n.failed = err != nil
}

func (k *Kubelet) summary(ctx context.Context, node string) (summary, error) {
	body, err := k.fetch(ctx, node)
	if err != nil {
		return summary{}, fmt.Errorf("asking the kubelet of node %q: %w", node, err)
	}
	defer body.Close()
	return parseSummary(body)
}

// summary is what is needed of a kubelet's report; see k8s.io/kubelet/pkg/apis/stats/v1alpha1.
type summary struct {
	Node summaryNode  `json:"node"`
	Pods []summaryPod `json:"pods"`
}

type summaryNode struct {
	CPU    summaryCPU    `json:"cpu"`
	Memory summaryMemory `json:"memory"`
}

type summaryPod struct {
	Ref struct {
		UID types.UID `json:"uid"`
	} `json:"podRef"`
	Containers []summaryContainer `json:"containers"`
}

type summaryContainer struct {
	Name   string        `json:"name"`
	CPU    summaryCPU    `json:"cpu"`
	Memory summaryMemory `json:"memory"`
}

type summaryCPU struct {
	Time time.Time `json:"time"`
	Used *uint64   `json:"usageCoreNanoSeconds"`
}

type summaryMemory struct {
	WorkingSet *uint64 `json:"workingSetBytes"`
}

// parseSummary reads a report.
func parseSummary(r io.Reader) (summary, error) {
	var s summary
	limited := &io.LimitedReader{R: r, N: maxSummary}
	if err := json.NewDecoder(limited).Decode(&s); err != nil {
		if limited.N <= 0 {
			err = errors.Join(fmt.Errorf("it is longer than %d bytes", int64(maxSummary)), err)
		}
		return summary{}, fmt.Errorf("reading a kubelet's summary: %w", err)
	}
	return s, nil
}

// samples are the report's, without containers that it has no times of.
func (s summary) samples(node string) (NodeSample, map[types.UID][]Sample) {
	var of NodeSample
	if at, cpu, memory, ok := counters(s.Node.CPU, s.Node.Memory); ok {
		of = NodeSample{Node: node, At: at, CPU: cpu, Memory: memory}
	}
	containers := make(map[types.UID][]Sample, len(s.Pods))
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			if at, cpu, memory, ok := counters(c.CPU, c.Memory); ok {
				containers[p.Ref.UID] = append(containers[p.Ref.UID], Sample{
					Pod: p.Ref.UID, Container: c.Name, At: at, CPU: cpu, Memory: memory,
				})
			}
		}
	}
	return of, containers
}

func counters(c summaryCPU, m summaryMemory) (at time.Time, cpu time.Duration, memory uint64, ok bool) {
	if c.Used == nil || c.Time.IsZero() {
		return at, 0, 0, false
	}
	if m.WorkingSet != nil {
		memory = *m.WorkingSet
	}
	return c.Time, time.Duration(*c.Used), memory, true
}

// Local reads what it can from this machine's cgroups and asks the kubelets for the rest. It has no samples of nodes
// all of whose pods it reads itself: on a machine that holds several, each has what its pods use.
type Local struct {
	Cgroups *Cgroups
	Kubelet *Kubelet
}

// Read implements Source.
func (l Local) Read(ctx context.Context, pods []*topology.Pod) Reading {
	own := l.Cgroups.Read(ctx, pods)
	seen := make(map[types.UID]bool, len(pods))
	for _, s := range own.Containers {
		seen[s.Pod] = true
	}
	var others []*topology.Pod
	ours := map[string]bool{}
	for _, p := range pods {
		switch {
		case seen[p.UID]:
			ours[p.Node] = true
		case len(p.Containers) > 0:
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return own
	}
	more := l.Kubelet.Read(ctx, others)
	own.Containers = append(own.Containers, more.Containers...)
	for _, n := range more.Nodes {
		if !ours[n.Node] {
			own.Nodes = append(own.Nodes, n)
		}
	}
	return own
}
