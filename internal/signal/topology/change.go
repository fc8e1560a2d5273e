package topology

import (
	"slices"

	"github.com/escale-dev/escale/internal/signal"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// SetPod notes a pod as it is now.
func (x *Index) SetPod(object *corev1.Pod) {
	if over(object) {
		x.DeletePod(object)
		return
	}
	p := newPod(object)
	x.mu.Lock()
	defer x.mu.Unlock()
	if p.replicaSet != "" {
		p.Workload = x.ownerOf(types.NamespacedName{Namespace: p.Namespace, Name: p.replicaSet})
	}
	x.remove(p.NamespacedName)
	x.place(p)
}

// DeletePod notes that a pod is over.
func (x *Index) DeletePod(object *corev1.Pod) {
	name := types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
	x.mu.Lock()
	known := x.pods[name] != nil
	x.remove(name)
	x.mu.Unlock()
	if ip := ownIP(object); known && x.Gone != nil && ip != "" {
		x.Gone(ip)
	}
}

// ownerOf is the workload a ReplicaSet belongs to; itself as long as nothing else is known.
func (x *Index) ownerOf(set types.NamespacedName) signal.Workload {
	if w, ok := x.owners[set]; ok {
		return w
	}
	return signal.Workload{Kind: kindReplicaSet, Namespace: set.Namespace, Name: set.Name}
}

// place adds a pod; the caller holds mu.
func (x *Index) place(p *Pod) {
	x.pods[p.NamespacedName] = p
	if p.IP != "" {
		x.byIP[p.IP] = p
	}
	x.changes++
	if p.Workload == (signal.Workload{}) {
		return
	}
	w := x.workload(p.Workload)
	w.pods[p.NamespacedName] = p
	x.count(p.Workload)
}

// remove takes a pod away; the caller holds mu.
func (x *Index) remove(name types.NamespacedName) {
	p := x.pods[name]
	if p == nil {
		return
	}
	delete(x.pods, name)
	if x.byIP[p.IP] == p {
		delete(x.byIP, p.IP)
	}
	x.changes++
	if w := x.workloads[p.Workload]; w != nil {
		delete(w.pods, name)
		x.count(p.Workload)
	}
}

func (x *Index) workload(name signal.Workload) *workload {
	w := x.workloads[name]
	if w == nil {
		w = &workload{pods: map[types.NamespacedName]*Pod{}}
		x.workloads[name] = w
	}
	return w
}

// count adds up a workload's pods, and forgets it when nothing is left of it; the caller holds mu.
func (x *Index) count(name signal.Workload) {
	x.spaces[name.Namespace]++
	w := x.workloads[name]
	if len(w.pods) == 0 && !w.declared {
		delete(x.workloads, name)
		return
	}
	r := signal.Replicas{Desired: w.desired, Pods: int32(len(w.pods))}
	for _, p := range w.pods {
		if p.Ready {
			r.Ready++
		}
		r.CPUReserved += p.CPU
		r.MemoryReserved += p.Memory
	}
	w.replicas = r
}

// SetWorkload notes the object of a workload: how many pods it asks for and their labels, nil where it does not tell.
func (x *Index) SetWorkload(name signal.Workload, desired int32, template labels.Set) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.workload(name)
	w.declared, w.desired, w.template = true, desired, template
	x.count(name)
}

// DeleteWorkload notes that the object of a workload is gone.
func (x *Index) DeleteWorkload(name signal.Workload) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.workloads[name]
	if w == nil {
		return
	}
	w.declared, w.desired, w.template = false, 0, nil
	x.count(name)
}

// SetReplicaSet notes whose a ReplicaSet is. One that is nobody's is a workload itself. Pods that came before it move.
func (x *Index) SetReplicaSet(set metav1.Object, desired int32, template labels.Set) {
	name := types.NamespacedName{Namespace: set.GetNamespace(), Name: set.GetName()}
	owner := metav1.GetControllerOfNoCopy(set)
	if owner == nil {
		x.SetWorkload(signal.Workload{Kind: kindReplicaSet, Namespace: name.Namespace, Name: name.Name}, desired, template)
		return
	}
	to := signal.Workload{Kind: owner.Kind, Namespace: name.Namespace, Name: owner.Name}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners[name] == to {
		return
	}
	x.owners[name] = to
	for _, p := range x.pods {
		if p.replicaSet == name.Name && p.Namespace == name.Namespace {
			moved := *p
			moved.Workload = to
			x.remove(p.NamespacedName)
			x.place(&moved)
		}
	}
}

// DeleteReplicaSet notes that a ReplicaSet is gone.
func (x *Index) DeleteReplicaSet(set metav1.Object) {
	name := types.NamespacedName{Namespace: set.GetNamespace(), Name: set.GetName()}
	x.DeleteWorkload(signal.Workload{Kind: kindReplicaSet, Namespace: name.Namespace, Name: name.Name})
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.owners, name)
}

// SetService notes a Service as it is now.
func (x *Index) SetService(object *corev1.Service) {
	name := types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeService(name)
	if len(object.Spec.Selector) == 0 {
		return
	}
	ips := slices.DeleteFunc(slices.Clone(object.Spec.ClusterIPs), func(ip string) bool {
		return ip == "" || ip == corev1.ClusterIPNone
	})
	x.services[name] = &service{selector: labels.SelectorFromSet(object.Spec.Selector), ips: ips}
	for _, ip := range ips {
		x.serviceIPs[ip] = name
	}
}

// DeleteService notes that a Service is gone.
func (x *Index) DeleteService(object *corev1.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeService(types.NamespacedName{Namespace: object.Namespace, Name: object.Name})
}

// removeService forgets a Service and its addresses; the caller holds mu.
func (x *Index) removeService(name types.NamespacedName) {
	s := x.services[name]
	if s == nil {
		return
	}
	for _, ip := range s.ips {
		if x.serviceIPs[ip] == name {
			delete(x.serviceIPs, ip)
		}
	}
	delete(x.services, name)
}
