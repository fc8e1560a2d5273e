package portal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/web"
)

// patience is how long a pod may take to become ready before the portal asks what is wrong.
const patience = 30 * time.Second

// diagnose says how an App is and, if something is wrong, what, in one sentence. Its controller's words come first, so
// that the portal and the command line say the same; pods that the controller still has hope for come next.
func diagnose(a appFacts) (web.State, string) {
	state, text := overall(a.app)
	if state == Suspended || state == Stopped || state == Waiting {
		return state, text
	}
	wrong := text
	if state != Failing {
		wrong = cmp.Or(podTrouble(a), deploymentTrouble(a.deployments))
	}
	switch {
	case wrong == "":
		return state, text
	case a.app.Status.Observed > 0:
		return Degraded, wrong
	}
	return Failing, wrong
}

// overall is the state as the App's own status tells it.
func overall(app v1alpha1.App) (web.State, string) {
	ready := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	stalled := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case app.Spec.Suspend:
		return Suspended, "Its controller changes nothing until suspend is taken out of the spec."
	case ready == nil || app.Status.ObservedGeneration < app.Generation:
		return Waiting, "The platform has not acted on the latest change yet."
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return Failing, sentence(stalled.Message)
	case ready.Status == metav1.ConditionTrue && app.Spec.Schedule != "":
		return Scheduled, ""
	case ready.Status == metav1.ConditionTrue && app.Status.Desired == 0:
		return Stopped, ""
	case ready.Status == metav1.ConditionTrue:
		return Ready, ""
	case meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReconciling):
		return RollingOut, sentence(ready.Message)
	}
	return NotReady, sentence(ready.Message)
}

// podTrouble is the first pod's trouble, and how many more pods are in trouble.
func podTrouble(a appFacts) string {
	var sentences []string
	for i := range a.pods {
		if s := whatIsWrong(&a.pods[i], a.events, a.now); s != "" {
			sentences = append(sentences, s)
		}
	}
	switch len(sentences) {
	case 0:
		return ""
	case 1:
		return sentences[0]
	case 2:
		return strings.TrimSuffix(sentences[0], ".") + "; one more pod is in trouble."
	}
	return fmt.Sprintf("%s; %d more pods are in trouble.", strings.TrimSuffix(sentences[0], "."), len(sentences)-1)
}

func deploymentTrouble(ds []appsv1.Deployment) string {
	for _, d := range ds {
		for _, c := range d.Status.Conditions {
			failed := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
			late := c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse
			if failed || late {
				return sentence(c.Message)
			}
		}
	}
	return ""
}

// whatIsWrong explains a pod that should be ready and is not; empty when nothing is wrong or it is too early to tell.
// Only the reasons that a person can act on have words of their own.
func whatIsWrong(pod *corev1.Pod, events []corev1.Event, now time.Time) string {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || isReady(pod) {
		return ""
	}
	name := fmt.Sprintf("Pod %q", pod.Name)
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonUnschedulable {
		return fmt.Sprintf("%s fits on no node: %s", name, ended(c.Message))
	}
	for _, s := range containerStatuses(pod) {
		if text := containerTrouble(pod, s); text != "" {
			return name + " " + text
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return fmt.Sprintf("%s failed: %s", name, ended(cmp.Or(pod.Status.Message, pod.Status.Reason, "it gives no reason")))
	}
	if now.Sub(pod.CreationTimestamp.Time) < patience {
		return ""
	}
	for _, e := range events {
		if e.InvolvedObject.Kind == "Pod" && e.InvolvedObject.Name == pod.Name && e.Type == corev1.EventTypeWarning {
			return fmt.Sprintf("%s is not ready: %s", name, ended(e.Message))
		}
	}
	return name + " runs but is not ready."
}

// containerTrouble is the rest of a sentence that begins with the pod.
func containerTrouble(pod *corev1.Pod, s corev1.ContainerStatus) string {
	in := ""
	if len(pod.Spec.Containers)+len(pod.Spec.InitContainers) > 1 {
		in = fmt.Sprintf(" in container %q", s.Name)
	}
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "CrashLoopBackOff":
			return fmt.Sprintf("stops right after its start%s (%s, %s).", in, exit(s.LastTerminationState.Terminated), times(s.RestartCount, "restart"))
		case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull":
			return fmt.Sprintf("cannot get its image %q%s: %s", s.Image, in, ended(w.Message))
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("cannot start%s: %s", in, ended(w.Message))
		}
	}
	if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
		return fmt.Sprintf("stopped%s (%s, %s).", in, exit(t), times(s.RestartCount, "restart"))
	}
	return ""
}

func exit(t *corev1.ContainerStateTerminated) string {
	switch {
	case t == nil:
		return "no exit code known"
	case t.Reason == "OOMKilled":
		return "out of memory"
	case t.Signal != 0:
		return fmt.Sprintf("signal %d", t.Signal)
	}
	return fmt.Sprintf("exit code %d", t.ExitCode)
}

// podState is the one word for a pod.
func podState(pod *corev1.Pod) web.State {
	if pod.DeletionTimestamp != nil {
		return Stopping
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return Completed
	case corev1.PodFailed:
		return Failed
	}
	if isReady(pod) {
		return Ready
	}
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonUnschedulable {
		return NoNode
	}
	for _, s := range containerStatuses(pod) {
		if w := s.State.Waiting; w != nil {
			switch w.Reason {
			case "CrashLoopBackOff":
				return Crashing
			case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull":
				return NoImage
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
				return Failing
			}
		}
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return Crashing
		}
	}
	if wasReady(pod) {
		return NotReady
	}
	return Starting
}

func containerStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

func podCondition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func isReady(pod *corev1.Pod) bool {
	c := podCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// wasReady says whether a pod that is not ready seems to have been: its readiness changed well after its start.
func wasReady(pod *corev1.Pod) bool {
	c := podCondition(pod, corev1.PodReady)
	return c != nil && pod.Status.StartTime != nil && pod.Status.Phase == corev1.PodRunning &&
		c.LastTransitionTime.Sub(pod.Status.StartTime.Time) > patience
}

// ended is the rest of a sentence, with its end.
func ended(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}

// sentence begins a text as a sentence does, unless its first word is a name, and ends it.
func sentence(s string) string {
	s = ended(s)
	word, _, _ := strings.Cut(s, " ")
	word = strings.TrimRight(word, ".,:;!?")
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLower(r) }) {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// times counts in words: "1 restart", "3 restarts".
func times(n int32, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
