package release

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// trouble is why a pod will not become ready by itself.
type trouble struct {
	reason  string
	message string
}

// podTrouble is nil for a pod that is ready or on its way. The message does not hold numbers that grow, such as how
// often a container was started.
func podTrouble(p corev1.Pod, app v1alpha1.App) *trouble {
	if podIs(p, corev1.PodReady) {
		return nil
	}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
		return &trouble{ReasonUnschedulable, fmt.Sprintf("pod %q fits on no node: %s", p.Name, c.Message)}
	}
	for _, s := range containerStatuses(p) {
		if t := containerTrouble(p.Name, s, app); t != nil {
			return t
		}
	}
	return nil
}

func containerStatuses(p corev1.Pod) []corev1.ContainerStatus {
	return append(append([]corev1.ContainerStatus(nil), p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
}

func podCondition(p corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func podIs(p corev1.Pod, kind corev1.PodConditionType) bool {
	c := podCondition(p, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

func containerTrouble(pod string, s corev1.ContainerStatus, app v1alpha1.App) *trouble {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
			return &trouble{ReasonImagePullBackOff, fmt.Sprintf("pod %q cannot pull image %q: %s", pod, s.Image, pullCause(*w))}
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError":
			return startTrouble(pod, w.Message, app)
		}
	}
	last := s.LastTerminationState.Terminated
	switch {
	case s.State.Terminated != nil && (s.RestartCount > 0 || neverStarted(*s.State.Terminated)):
		return endTrouble(pod, *s.State.Terminated, s, app) // the first end may be the last
	case last != nil && s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff":
		return endTrouble(pod, *last, s, app)
	case last != nil && s.RestartCount >= 2:
		return endTrouble(pod, *last, s, app) // running, once more
	}
	return nil
}

// pullCause is what the registry said. The kubelet repeats it behind a preamble while it waits.
func pullCause(w corev1.ContainerStateWaiting) string {
	if _, cause, ok := strings.Cut(w.Message, "ErrImagePull: "); ok {
		return cause
	}
	return cmp.Or(w.Message, w.Reason)
}

// startTrouble is a container that was never started.
func startTrouble(pod, message string, app v1alpha1.App) *trouble {
	if commandIsMissing(message) {
		return &trouble{ReasonCommandNotFound, fmt.Sprintf("pod %q: command %s not found: %s", pod, program(app), message)}
	}
	return &trouble{ReasonCannotStart, fmt.Sprintf("pod %q cannot start: %s", pod, message)}
}

func commandIsMissing(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "executable file not found") || strings.Contains(m, "command not found") ||
		strings.Contains(m, "no such file or directory") || strings.Contains(m, "is not on this machine") // the process runtime's
}

func program(app v1alpha1.App) string {
	if len(app.Spec.Command) == 0 {
		return "of the image"
	}
	return fmt.Sprintf("%q", app.Spec.Command[0])
}

// The exit codes that shells and runtimes give a meaning.
const (
	exitNotFound = 127
	exitStart    = 128
	exitKilled   = 137
	exitTerm     = 143
)

// endTrouble is a container that ended, or ends again and again.
func endTrouble(pod string, t corev1.ContainerStateTerminated, s corev1.ContainerStatus, app v1alpha1.App) *trouble {
	switch {
	case neverStarted(t):
		return startTrouble(pod, cmp.Or(t.Message, t.Reason), app)
	case t.ExitCode == exitNotFound:
		return &trouble{ReasonCommandNotFound, fmt.Sprintf("pod %q: command %s not found (exit code 127)", pod, program(app))}
	case t.Reason == "OOMKilled":
		return &trouble{ReasonCrashLoopBackOff, fmt.Sprintf(
			"pod %q used more memory than its limit and was killed: raise spec.resources.memoryLimit", pod)}
	case neverAnswered(t, s, app):
		return &trouble{ReasonHealthCheckFailed, fmt.Sprintf(
			"pod %q did not %s within %d seconds and is started anew", pod, question(app), startSeconds)}
	case t.ExitCode == 0:
		return &trouble{ReasonCrashLoopBackOff, fmt.Sprintf(
			"pod %q ends with exit code 0: a program that is done belongs in an App with a schedule", pod)}
	}
	return &trouble{ReasonCrashLoopBackOff, fmt.Sprintf("pod %q ends with exit code %d%s", pod, t.ExitCode, detail(t.Message))}
}

func neverStarted(t corev1.ContainerStateTerminated) bool {
	return t.Reason == "StartError" || t.Reason == "ContainerCannotRun" || t.ExitCode == exitStart
}

func detail(message string) string {
	if message = strings.TrimSpace(message); message == "" {
		return ""
	}
	return ": " + message
}

// neverAnswered tells a container that the kubelet ended because of its startup probe: the probe's only trace is how
// long the container ran and which signal ended it.
func neverAnswered(t corev1.ContainerStateTerminated, s corev1.ContainerStatus, app v1alpha1.App) bool {
	if app.Spec.Port == 0 || (s.Started != nil && *s.Started) {
		return false
	}
	ran := t.FinishedAt.Sub(t.StartedAt.Time)
	signalled := t.ExitCode == exitKilled || t.ExitCode == exitTerm || t.ExitCode == 0
	return signalled && ran >= startSeconds*time.Second-time.Second
}

// question is what the probes ask.
func question(app v1alpha1.App) string {
	if app.Spec.Health != "" {
		return fmt.Sprintf("answer GET %s on port %d", app.Spec.Health, app.Spec.Port)
	}
	return fmt.Sprintf("accept connections on port %d", app.Spec.Port)
}

// waiting is what the pod that is furthest behind waits for.
func waiting(f Facts) string {
	list := f.NewestPods()
	if len(list) == 0 {
		return "waiting for pods to be created"
	}
	behind, least := "", stageReady
	for _, p := range list {
		if n := stage(p); n < least {
			behind, least = p.Name, n
		}
	}
	switch {
	case least < stageAnswer:
		return fmt.Sprintf("waiting for pod %q to %s", behind, stages[least])
	case f.App.Spec.Port == 0:
		return fmt.Sprintf("waiting %d seconds to see that the pods keep running", settleSeconds)
	case least == stageAnswer:
		return fmt.Sprintf("waiting for pod %q to %s", behind, question(f.App))
	}
	return "waiting for the pods to be counted"
}

// The stages of a pod. A pod in one of them has those before it behind it.
const (
	stagePlace = iota
	stageStart
	stageAnswer
	stageReady
)

var stages = [...]string{stagePlace: "find a node", stageStart: "start"}

func stage(p corev1.Pod) int {
	switch {
	case !podIs(p, corev1.PodScheduled):
		return stagePlace
	case p.Status.Phase == corev1.PodPending:
		return stageStart
	case !podIs(p, corev1.PodReady):
		return stageAnswer
	}
	return stageReady
}
