package waterfall

import (
	"strings"
	"testing"

	"github.com/escale-dev/escale/internal/signal"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestObserveKeepsTheFirstTimes(t *testing.T) {
	var p Pod
	for i, steps := range [][]string{
		{}, {"unplaced"}, {"bound"}, {"bound", "started"}, {"bound", "started", "ready"}, {"bound", "started"}, {"bound", "started", "ready"},
	} {
		p = Observe(p, pod(1, steps...), ms(i+1))
	}
	want := seen(1, 2, 3, 4, 5)
	want.Name, want.Node = "storefront-abc-1", "node-1"
	if p != want {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
	over := pod(1, "bound")
	over.Status.Phase = corev1.PodFailed
	if p = Observe(p, over, ms(9)); !p.Gone.Equal(ms(9)) {
		t.Errorf("a failed pod is gone: %+v", p)
	}
}

func TestTrouble(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "main", Image: "shop:1", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	crashed := waiting("CrashLoopBackOff", "back-off 10s")
	crashed.RestartCount = 4
	crashed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3}
	for _, c := range []struct {
		name, want string
		status     corev1.PodStatus
	}{
		{"nothing known", "", corev1.PodStatus{}},
		{"ordinary", "", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}}},
		{
			"image", `container "main" waits for image "shop:1": not found`,
			corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ErrImagePull", "not\n found.")}},
		},
		{
			"configuration", `container "main" waits: secret "x" not found`,
			corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{waiting("CreateContainerConfigError", `secret "x" not found`)}},
		},
		{
			"crash", `container "main" ended with exit code 3, restarted 4 times`,
			corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{crashed}},
		},
		{
			"gates", "its scheduling gates hold it back",
			corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := trouble(&corev1.Pod{Status: c.status}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := short(strings.Repeat("é", 400)); len(got) > mostText+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("a long message is %d bytes", len(got))
	}
}

func TestWorkloadOf(t *testing.T) {
	owned := func(kind, name string, labels map[string]string) *corev1.Pod {
		yes := true
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}}}
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want signal.Workload
		ok   bool
	}{
		{"Deployment", pod(1), storefront, true},
		{"StatefulSet", owned("StatefulSet", "db", nil), signal.Workload{Kind: "StatefulSet", Namespace: "shop", Name: "db"}, true},
		{"a ReplicaSet of its own", owned("ReplicaSet", "a-b", nil), signal.Workload{Kind: "ReplicaSet", Namespace: "shop", Name: "a-b"}, true},
		{"ScaledJob", owned("Job", "x-1", map[string]string{labelScaledJob: "x"}), signal.Workload{Kind: "ScaledJob", Namespace: "shop", Name: "x"}, true},
		{"alone", &corev1.Pod{}, signal.Workload{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := workloadOf(c.pod); got != c.want || ok != c.ok {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}
