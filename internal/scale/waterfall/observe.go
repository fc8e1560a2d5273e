package waterfall

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/escale-dev/escale/internal/signal"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observe adds to p what a watch shows of the pod now. It is pure.
func Observe(p Pod, o *corev1.Pod, now time.Time) Pod {
	p.Name, p.Node, p.IP = o.Name, o.Spec.NodeName, o.Status.PodIP
	once(&p.Created, now, true)
	scheduled := condition(o, corev1.PodScheduled)
	once(&p.Unplaced, now, scheduled.Status == corev1.ConditionFalse && scheduled.Reason == corev1.PodReasonUnschedulable)
	once(&p.Bound, now, o.Spec.NodeName != "")
	once(&p.Started, now, running(o))
	once(&p.Ready, now, condition(o, corev1.PodReady).Status == corev1.ConditionTrue)
	over := o.Status.Phase == corev1.PodFailed || o.Status.Phase == corev1.PodSucceeded
	once(&p.Gone, now, o.DeletionTimestamp != nil || over)
	p.Trouble = trouble(o)
	return p
}

// once sets a time that is not set when its condition holds.
func once(t *time.Time, now time.Time, holds bool) {
	if holds && t.IsZero() {
		*t = now
	}
}

func condition(o *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range o.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// running says whether all containers have been started.
func running(o *corev1.Pod) bool {
	if len(o.Status.ContainerStatuses) < len(o.Spec.Containers) || len(o.Spec.Containers) == 0 {
		return false
	}
	for _, c := range o.Status.ContainerStatuses {
		if c.State.Running == nil && c.State.Terminated == nil {
			return false
		}
	}
	return true
}

// trouble is what keeps the pod from the next stage, as the scheduler or the kubelet says.
func trouble(o *corev1.Pod) string {
	if c := condition(o, corev1.PodScheduled); c.Status == corev1.ConditionFalse {
		if c.Reason == corev1.PodReasonSchedulingGated {
			return "its scheduling gates hold it back"
		}
		return "the scheduler says " + short(c.Message)
	}
	for _, c := range append(o.Status.InitContainerStatuses[:len(o.Status.InitContainerStatuses):len(o.Status.InitContainerStatuses)], o.Status.ContainerStatuses...) {
		if t := containerTrouble(c); t != "" {
			return fmt.Sprintf("container %q %s", c.Name, t)
		}
	}
	return ""
}

// ordinary are the reasons for waiting that every start passes.
var ordinary = map[string]bool{"": true, "ContainerCreating": true, "PodInitializing": true}

func containerTrouble(c corev1.ContainerStatus) string {
	ended := c.State.Terminated
	if ended == nil {
		ended = c.LastTerminationState.Terminated
	}
	if ended != nil && (ended.ExitCode != 0 || c.RestartCount > 0) && !c.Ready {
		return fmt.Sprintf("ended with exit code %d, restarted %d times", ended.ExitCode, c.RestartCount)
	}
	w := c.State.Waiting
	if w == nil || ordinary[w.Reason] {
		return ""
	}
	if strings.Contains(w.Reason, "Image") {
		return fmt.Sprintf("waits for image %q: %s", c.Image, short(cmp.Or(w.Message, w.Reason)))
	}
	return "waits: " + short(cmp.Or(w.Message, w.Reason))
}

// mostText is how many bytes of another component's message are shown.
const mostText = 240

func short(s string) string {
	s = strings.TrimSuffix(strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " "), ".")
	if len(s) <= mostText {
		return s
	}
	end := mostText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// labelScaledJob is KEDA's label on the Jobs and pods of a ScaledJob.
const labelScaledJob = "scaledjob.keda.sh/name"

// workloadOf is the workload a pod belongs to. A Deployment is known by its ReplicaSet's name, which ends with the hash
// in the pod's label, so that nothing has to be looked up. False: nothing that scales made the pod.
func workloadOf(o *corev1.Pod) (signal.Workload, bool) {
	if job := o.Labels[labelScaledJob]; job != "" {
		return signal.Workload{Kind: "ScaledJob", Namespace: o.Namespace, Name: job}, true
	}
	owner := metav1.GetControllerOf(o)
	if owner == nil {
		return signal.Workload{}, false
	}
	w := signal.Workload{Kind: owner.Kind, Namespace: o.Namespace, Name: owner.Name}
	if owner.Kind != "ReplicaSet" {
		return w, true
	}
	if hash := o.Labels["pod-template-hash"]; hash != "" && strings.HasSuffix(owner.Name, "-"+hash) {
		w.Kind, w.Name = "Deployment", strings.TrimSuffix(owner.Name, "-"+hash)
	}
	return w, true
}
