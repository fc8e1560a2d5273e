package traffic

import (
	"github.com/escale-dev/escale/internal/timeline"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// recordAcceptance adds a record when the condition Accepted of an object is new or has another status.
func (s *shell) recordAcceptance(ref objectRef, before, after []metav1.Condition) {
	const accepted = "Accepted"
	is, was := meta.FindStatusCondition(after, accepted), meta.FindStatusCondition(before, accepted)
	if is == nil || was != nil && was.Status == is.Status {
		return
	}
	action, from := "accepted", ""
	if is.Status != metav1.ConditionTrue {
		action = "refused"
	}
	if was != nil {
		from = was.Reason
	}
	s.timeline.Add(timeline.Record{
		Actor: "gateway", Action: action,
		Object: timeline.Object{Kind: ref.kind, Namespace: ref.name.Namespace, Name: ref.name.Name},
		From:   from, To: is.Reason, Reason: is.Message,
	})
}
