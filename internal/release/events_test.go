package release

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time {
	return metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
}

func status(revision, condition, reason string, since int) v1alpha1.AppStatus {
	s := v1alpha1.AppStatus{Revision: revision}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionStalled} {
		s.Conditions = append(s.Conditions, metav1.Condition{
			Type: kind, Status: conditionStatus(kind == condition), Reason: reason, Message: "m", LastTransitionTime: at(since),
		})
	}
	return s
}

// started is an App whose only pod was made at 1 s, placed at 2 s, started at 4 s and ready at 7 s; it is 8 s now.
func started() Facts {
	f := Facts{Now: at(8).Time, Deployment: &appsv1.Deployment{}}
	f.Deployment.UID = "d"
	rs := appsv1.ReplicaSet{}
	rs.UID, rs.OwnerReferences = "rs", []metav1.OwnerReference{{UID: "d", Controller: ptr.To(true)}}
	f.ReplicaSets = []appsv1.ReplicaSet{rs}
	p := corev1.Pod{}
	p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: ptr.To(true)}}
	p.CreationTimestamp = at(1)
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: "True", LastTransitionTime: at(2)},
		{Type: corev1.PodReady, Status: "True", LastTransitionTime: at(7)},
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: at(4)},
	}}}
	f.Pods = []corev1.Pod{p}
	return f
}

func TestChanged(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after v1alpha1.AppStatus
		want          string
	}{
		"nothing":             {status("a", "Ready", "Serving", 0), status("a", "Ready", "Serving", 0), ""},
		"ready":               {status("a", "", "RollingOut", 0), status("a", "Ready", "Serving", 8), "became ready applied=1s scheduled=1s started=2s ready=3s serving=1s"},
		"ready again":         {status("a", "", "RollingOut", 5), status("a", "Ready", "Serving", 8), "became ready applied=0s scheduled=1s started=2s ready=3s serving=1s"},
		"too quick to see":    {status("a", "Ready", "Serving", 0), status("b", "Ready", "Serving", 0), "became ready applied=0s scheduled=1s started=2s ready=3s serving=1s"},
		"stalled":             {status("a", "Ready", "Serving", 0), status("a", "Stalled", "Unschedulable", 8), "stalled"},
		"stalled differently": {status("a", "Stalled", "Unschedulable", 0), status("a", "Stalled", "CrashLoopBackOff", 0), "stalled"},
		"stalled as before":   {status("a", "Stalled", "Unschedulable", 0), status("a", "Stalled", "Unschedulable", 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, n := range changed(tt.before, tt.after, started()) {
				got = append(got, n.action)
				for _, s := range n.stages {
					got = append(got, fmt.Sprintf("%s=%s", s.Name, s.Duration))
				}
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got  %s\nwant %s", g, tt.want)
			}
		})
	}
}

func TestReleased(t *testing.T) {
	for name, tt := range map[string]struct {
		applied Applied
		want    string
	}{
		"the first":  {Applied{Revision: "a"}, `released: released revision "a"`},
		"a further":  {Applied{Revision: "b", Previous: "a"}, `released: released revision "b" after "a"`},
		"an earlier": {Applied{Revision: "a", Previous: "b", Back: true}, `rolled back: rolled back from revision "b" to "a"`},
		"the same":   {Applied{Revision: "a", Previous: "a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, n := range released(tt.applied) {
				got += n.action + ": " + n.message
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStall(t *testing.T) {
	target := target{revision: "a", generation: 2}
	facts := Facts{Managed: true}
	facts.App.Generation = 2
	stalledBy := func(reason string) v1alpha1.AppStatus { return status("a", v1alpha1.ConditionStalled, reason, 0) }
	crashed := started()
	crashed.Managed, crashed.App.Generation = true, 2
	crashed.Pods[0].Status.ContainerStatuses[0].RestartCount = 2
	old := facts
	old.App.Generation = 1
	for name, tt := range map[string]struct {
		status v1alpha1.AppStatus
		facts  Facts
		since  time.Time // of the stall
		want   step
	}{
		"ready":                      {status("a", v1alpha1.ConditionReady, ReasonServing, 0), facts, time.Time{}, step{ready: true}},
		"ready before the change":    {status("a", v1alpha1.ConditionReady, ReasonServing, 0), old, time.Time{}, step{}},
		"ready with an old revision": {status("b", v1alpha1.ConditionReady, ReasonServing, 0), facts, time.Time{}, step{}},
		"suspended":                  {status("a", "", ReasonSuspended, 0), facts, time.Time{}, step{ready: true}},
		"on its way":                 {status("a", "", ReasonRollingOut, 0), facts, time.Time{}, step{}},
		"stalled":                    {stalledBy(ReasonUnschedulable), facts, time.Time{}, step{again: stallGrace}},
		"stalled for a while":        {stalledBy(ReasonUnschedulable), facts, noon.Add(-5 * time.Second), step{again: 15 * time.Second}},
		"stalled for too long":       {stalledBy(ReasonUnschedulable), facts, noon.Add(-20 * time.Second), step{failed: true}},
		"no such command":            {stalledBy(ReasonCommandNotFound), facts, time.Time{}, step{failed: true}},
		"ended twice":                {stalledBy(ReasonCrashLoopBackOff), crashed, time.Time{}, step{failed: true}},
		"recovered":                  {status("a", "", ReasonRollingOut, 0), facts, noon.Add(-19 * time.Second), step{}},
	} {
		t.Run(name, func(t *testing.T) {
			st := stall{since: tt.since}
			if got := st.next(tt.status, tt.facts, target, noon); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
