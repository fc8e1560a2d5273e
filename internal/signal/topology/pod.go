package topology

import (
	"time"

	"github.com/escale-dev/escale/internal/signal"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
)

// Pod is what is known of a pod that is not over.
type Pod struct {
	types.NamespacedName
	UID  types.UID
	Node string
	// IP is empty for a pod that has its node's address.
	IP string
	// Workload is zero for a pod without a controller.
	Workload signal.Workload
	Labels   labels.Set
	Ready    bool
	// Containers are those that run.
	Containers []Container
	// CPU (cores) and Memory (bytes) it has requested.
	CPU, Memory float64

	replicaSet string
}

// Container is a container that runs.
type Container struct {
	Name string
	// Runtime and ID are the two parts of its identification, such as "containerd" and 64 hexadecimal digits.
	Runtime, ID string
	Started     time.Time
}

// ownIP is a pod's address; none where it is its node's.
func ownIP(p *corev1.Pod) string {
	if p.Spec.HostNetwork {
		return ""
	}
	return p.Status.PodIP
}

// over says whether a pod's containers have ended for good.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// newPod takes what the index needs of a pod. Its workload is that of its controller; the index resolves ReplicaSets.
func newPod(p *corev1.Pod) *Pod {
	out := &Pod{
		NamespacedName: types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		UID:            p.UID, Node: p.Spec.NodeName, IP: ownIP(p), Labels: p.Labels,
		Ready: ready(p), Containers: running(p),
	}
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		out.Workload = signal.Workload{Kind: owner.Kind, Namespace: p.Namespace, Name: owner.Name}
		if owner.Kind == kindReplicaSet {
			out.replicaSet = owner.Name
		}
	}
	requests := resource.PodRequests(p, resource.PodResourcesOptions{})
	out.CPU = requests.Cpu().AsApproximateFloat64()
	out.Memory = requests.Memory().AsApproximateFloat64()
	return out
}

func ready(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func running(p *corev1.Pod) []Container {
	out := make([]Container, 0, len(p.Status.ContainerStatuses))
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range statuses {
			runtime, id, ok := cutID(s.ContainerID)
			if s.State.Running == nil || !ok {
				continue
			}
			out = append(out, Container{Name: s.Name, Runtime: runtime, ID: id, Started: s.State.Running.StartedAt.Time})
		}
	}
	return out
}
