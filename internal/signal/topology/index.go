package topology

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

const kindReplicaSet = "ReplicaSet"

func cutID(id string) (runtime, rest string, ok bool) { return strings.Cut(id, "://") }

// Index is the topology of a cluster. It implements signal.Topology. Its methods may be called at the same time from
// anywhere.
type Index struct {
	// Gone, unless nil, is told the address of every pod that is over. It must not call the index.
	Gone func(ip string)

	mu        sync.RWMutex
	pods      map[types.NamespacedName]*Pod
	byIP      map[string]*Pod
	owners    map[types.NamespacedName]signal.Workload // of ReplicaSets
	workloads map[signal.Workload]*workload
	services  map[types.NamespacedName]*service
	// serviceIPs is whose an address is.
	serviceIPs map[string]types.NamespacedName
	// spaces counts the changes of each namespace that may change what its Services lead to.
	spaces map[string]uint64
	// changes counts every change of a pod.
	changes uint64
}

// workload is what is known of one.
type workload struct {
	pods map[types.NamespacedName]*Pod
	// declared is whether an object was seen, and not just its pods.
	declared bool
	desired  int32
	// template is the labels of its pods, where its object tells.
	template labels.Set
	replicas signal.Replicas
}

// service is what a Service selects, and what that came to when its namespace had changed so many times.
type service struct {
	selector labels.Selector
	ips      []string
	seen     uint64
	backends []signal.Backend
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	return &Index{
		pods: map[types.NamespacedName]*Pod{}, byIP: map[string]*Pod{},
		owners: map[types.NamespacedName]signal.Workload{}, workloads: map[signal.Workload]*workload{},
		services: map[types.NamespacedName]*service{}, spaces: map[string]uint64{},
		serviceIPs: map[string]types.NamespacedName{},
	}
}

// Each implements signal.Topology.
func (x *Index) Each(f func(signal.Workload, signal.Replicas)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for name, w := range x.workloads {
		f(name, w.replicas)
	}
}

// Backends implements signal.Topology. A Service's traffic goes to ready pods, so each workload's share is that of the
// pods that are ready; where none is, that of all pods; where there is none, each has the same.
func (x *Index) Backends(name types.NamespacedName) []signal.Backend {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.services[name]
	if s == nil {
		return nil
	}
	if now := x.spaces[name.Namespace] + 1; s.seen != now {
		s.seen, s.backends = now, x.resolve(name.Namespace, s.selector)
	}
	return s.backends
}

// resolve finds the workloads that a selector leads to.
func (x *Index) resolve(namespace string, selector labels.Selector) []signal.Backend {
	ready, all, templates := map[signal.Workload]int{}, map[signal.Workload]int{}, map[signal.Workload]int{}
	for name, w := range x.workloads {
		if name.Namespace != namespace {
			continue
		}
		if w.template != nil && selector.Matches(w.template) {
			templates[name] = 1
		}
		for _, p := range w.pods {
			if !selector.Matches(p.Labels) {
				continue
			}
			all[name]++
			if p.Ready {
				ready[name]++
			}
		}
	}
	for _, counts := range []map[signal.Workload]int{ready, all, templates} {
		if len(counts) > 0 {
			return shares(counts)
		}
	}
	return nil
}

func shares(counts map[signal.Workload]int) []signal.Backend {
	var sum int
	for _, n := range counts {
		sum += n
	}
	out := make([]signal.Backend, 0, len(counts))
	for w, n := range counts {
		out = append(out, signal.Backend{Workload: w, Share: float64(n) / float64(sum)})
	}
	slices.SortFunc(out, func(a, b signal.Backend) int {
		return cmp.Or(cmp.Compare(a.Workload.Name, b.Workload.Name), cmp.Compare(a.Workload.Kind, b.Workload.Kind))
	})
	return out
}

// Pods are the pods that are not over, in no order, and a number that changes when they do. They are not to be changed.
func (x *Index) Pods() ([]*Pod, uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Values(x.pods)), x.changes
}

// Changes is the number that Pods returns.
func (x *Index) Changes() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.changes
}

// Pod returns one pod; false where there is none that is not over.
func (x *Index) Pod(name types.NamespacedName) (*Pod, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p, ok := x.pods[name]
	return p, ok
}

// ByIP is the workload whose pod has this address.
func (x *Index) ByIP(ip string) (signal.Workload, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p := x.byIP[ip]
	if p == nil || p.Workload == (signal.Workload{}) {
		return signal.Workload{}, false
	}
	return p.Workload, true
}

// ByServiceIP lists the workloads that the Service with this address leads to.
func (x *Index) ByServiceIP(ip string) []signal.Backend {
	x.mu.RLock()
	name, ok := x.serviceIPs[ip]
	x.mu.RUnlock()
	if !ok {
		return nil
	}
	return x.Backends(name)
}
