package scale

import (
	"fmt"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const (
	kindScaledObject = "ScaledObject"
	kindScaledJob    = "ScaledJob"
)

// regarding is an object that events are about.
func regarding(kind string, name types.NamespacedName, uid types.UID) runtime.Object {
	return &corev1.ObjectReference{
		APIVersion: kedav1alpha1.GroupVersion.String(), Kind: kind, Namespace: name.Namespace, Name: name.Name, UID: uid,
	}
}

func (s *Scaler) event(about runtime.Object, kind, reason, action, format string, args ...any) {
	if s.recorder != nil {
		s.recorder.Eventf(about, nil, kind, reason, action, "%s", fmt.Sprintf(format, args...))
	}
}

// announce tells of a change of the number of pods, with KEDA's reasons where the workload wakes or rests.
func (o *object) announce(c change) {
	reason := "ScaledUp"
	switch {
	case c.from == 0:
		reason = "KEDAScaleTargetActivated"
	case c.to == 0:
		reason = "KEDAScaleTargetDeactivated"
	case c.to < c.from:
		reason = "ScaledDown"
	}
	o.scaler.event(regarding(kindScaledObject, o.name, o.uid), corev1.EventTypeNormal, reason, "Scale",
		"Scaled %s %s/%s from %d to %d: %s", o.target.kind(), o.target.namespace, o.target.name, c.from, c.to, c.reason)
}

// announceStates tells of states that begin or end.
func (o *object) announceStates(before, now shown) {
	about := regarding(kindScaledObject, o.name, o.uid)
	tell := func(was, is bool, kind, began, ended, message string) {
		switch {
		case is && !was:
			o.scaler.event(about, kind, began, "Scale", "%s", message)
		case was && !is:
			o.scaler.event(about, corev1.EventTypeNormal, ended, "Scale", "%s", "No longer so: "+message)
		}
	}
	tell(before.paused, now.paused, corev1.EventTypeNormal, "ScaledObjectPaused", "ScaledObjectUnpaused", "an annotation pauses it")
	tell(before.fallback, now.fallback, corev1.EventTypeWarning, "ScaledObjectFallbackActivated", "ScaledObjectFallbackDeactivated",
		"the fallback stands in for a source that cannot be read")
	tell(before.held != "", now.held != "", corev1.EventTypeWarning, "ScaleInHeld", "ScaleInNotHeld", "pods are kept while a caller fails: "+before.held+now.held)
	if now.errors != "" && now.errors != before.errors {
		o.scaler.event(about, corev1.EventTypeWarning, "KEDAScalerFailed", "Scale", "%s", now.errors)
	}
}

func conditionsWithout(reason, message string) kedav1alpha1.Conditions {
	return kedav1alpha1.Conditions{{Type: kedav1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
}
