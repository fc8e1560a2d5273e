package readiness

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind is which of a container's probes.
type Kind string

// The probes that keep a container from being ready, in this order.
const (
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
)

// Probe names one probe of a container.
type Probe struct {
	Pod       types.UID
	Container string
	Kind      Kind
}

// Target is a probe that a running container has yet to pass.
type Target struct {
	Probe
	// ID is the container's; another one of the same name has to pass anew.
	ID string
	// Host is where the pod is reached.
	Host string
	// Started is when the container began to run.
	Started time.Time
	// Spec is the probe, Of the container it belongs to.
	Spec *v1.Probe
	Of   *v1.Container
}

// targets are the probes that the pod's containers have yet to pass and that may be hastened. It is pure.
func targets(pod *v1.Pod, status *v1.PodStatus) []Target {
	host := status.PodIP
	if host == "" {
		host = pod.Status.PodIP // a pod in the node's network gets its address later
	}
	if host == "" || pod.DeletionTimestamp != nil {
		return nil
	}
	var out []Target
	add := func(c *v1.Container, statuses []v1.ContainerStatus) {
		for i := range statuses {
			if statuses[i].Name != c.Name {
				continue
			}
			if t, ok := target(c, &statuses[i]); ok {
				t.Pod, t.Host = pod.UID, host
				out = append(out, t)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		add(&pod.Spec.InitContainers[i], status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], status.ContainerStatuses)
	}
	return out
}

// target is the probe that a container has yet to pass. The API server allows none to init containers that end.
func target(c *v1.Container, status *v1.ContainerStatus) (Target, bool) {
	if status.State.Running == nil {
		return Target{}, false
	}
	t := Target{ID: status.ContainerID, Started: status.State.Running.StartedAt.Time, Of: c}
	t.Container = c.Name
	switch started := status.Started != nil && *status.Started; {
	case !started:
		t.Kind, t.Spec = Startup, c.StartupProbe
	case !status.Ready:
		t.Kind, t.Spec = Readiness, c.ReadinessProbe
	}
	return t, t.Spec != nil && t.Spec.Exec == nil && t.Spec.SuccessThreshold <= 1
}

const (
	// firstPace is the shortest time between two questions.
	firstPace = 5 * time.Millisecond
	// share is the part of a container's age that may pass between two.
	share = 20
)

// pace is how long to wait before the next question; false when the kubelet's own pace is as good.
func (t *Target) pace(now time.Time) (time.Duration, bool) {
	if wait := t.Started.Add(time.Duration(t.Spec.InitialDelaySeconds) * time.Second).Sub(now); wait > 0 {
		return wait, true
	}
	step := max(firstPace, now.Sub(t.Started)/share)
	return step, step < time.Duration(t.Spec.PeriodSeconds)*time.Second
}
