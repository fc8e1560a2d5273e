package release

import (
	"fmt"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// actor is the name of this capability in the timeline.
const actor = "release"

// news is one thing that happened to an App, for its events and for the timeline.
type news struct {
	warning bool
	reason  string // of the event
	action  string // of the record, in the past tense
	from    string
	to      string
	message string
	stages  []timeline.Stage
}

func (n news) record(app v1alpha1.App, now time.Time) timeline.Record {
	return timeline.Record{
		Time: now, Actor: actor, Action: n.action,
		Object: timeline.Object{Kind: "App", Namespace: app.Namespace, Name: app.Name},
		From:   n.from, To: n.to, Reason: n.message, Stages: n.stages,
	}
}

func (n news) eventType() string {
	if n.warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// released tells of a new revision.
func released(a Applied) []news {
	switch {
	case a.Previous == a.Revision:
		return nil
	case a.Back:
		return []news{{reason: "RolledBack", action: "rolled back", from: a.Previous, to: a.Revision,
			message: fmt.Sprintf("rolled back from revision %q to %q", a.Previous, a.Revision)}}
	case a.Previous == "":
		return []news{{reason: "Released", action: "released", to: a.Revision,
			message: fmt.Sprintf("released revision %q", a.Revision)}}
	}
	return []news{{reason: "Released", action: "released", from: a.Previous, to: a.Revision,
		message: fmt.Sprintf("released revision %q after %q", a.Revision, a.Previous)}}
}

// changed tells what is different between two statuses of an App.
func changed(before, after v1alpha1.AppStatus, f Facts) []news {
	var out []news
	was, is := condition(before, v1alpha1.ConditionReady), condition(after, v1alpha1.ConditionReady)
	wasReady := was.Status == metav1.ConditionTrue
	if is.Status == metav1.ConditionTrue && (!wasReady || before.Revision != after.Revision) {
		since := was.LastTransitionTime.Time
		if wasReady {
			since = f.Now // a rollout too quick to be seen: only the pod itself tells how long it took
		}
		out = append(out, news{reason: "Ready", action: "became ready", to: after.Revision,
			message: is.Message, stages: startStages(f, since)})
	}
	was, is = condition(before, v1alpha1.ConditionStalled), condition(after, v1alpha1.ConditionStalled)
	if is.Status == metav1.ConditionTrue && (was.Status != metav1.ConditionTrue || was.Reason != is.Reason) {
		out = append(out, news{warning: true, reason: is.Reason, action: "stalled", to: after.Revision, message: is.Message})
	}
	return out
}

func condition(s v1alpha1.AppStatus, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(s.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// startStages is how long each stage took until the App was ready, counted from since (or, where that is zero, from the
// App's creation), along the pod that became ready last. The API server's times are whole seconds.
func startStages(f Facts, since time.Time) []timeline.Stage {
	last := lastReady(f.NewestPods())
	if last == nil {
		return nil
	}
	if since.IsZero() {
		since = f.App.CreationTimestamp.Time
	}
	if since.After(last.CreationTimestamp.Time) {
		since = last.CreationTimestamp.Time
	}
	var out []timeline.Stage
	add := func(name string, at time.Time) {
		if at.IsZero() {
			return
		}
		out = append(out, timeline.Stage{Name: name, Duration: max(0, at.Sub(since))})
		if at.After(since) {
			since = at
		}
	}
	add("applied", last.CreationTimestamp.Time)
	add("scheduled", podCondition(*last, corev1.PodScheduled).LastTransitionTime.Time)
	add("started", startedAt(*last))
	add("ready", podCondition(*last, corev1.PodReady).LastTransitionTime.Time)
	add("serving", f.Now)
	return out
}

func lastReady(pods []corev1.Pod) *corev1.Pod {
	var last *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if !podIs(*p, corev1.PodReady) || !podIs(*p, corev1.PodScheduled) {
			continue
		}
		if last == nil || readyAt(*last).Before(readyAt(*p)) {
			last = p
		}
	}
	return last
}

func readyAt(p corev1.Pod) time.Time { return podCondition(p, corev1.PodReady).LastTransitionTime.Time }

func startedAt(p corev1.Pod) time.Time {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			return s.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
}
