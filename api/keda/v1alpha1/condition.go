package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The conditions of a ScaledObject; a ScaledJob has all but Fallback and Held.
const (
	// ConditionReady is true when the object is understood and its workload can be scaled. Its message names the fields
	// that are not supported.
	ConditionReady = "Ready"
	// ConditionActive is true while a trigger sees work.
	ConditionActive = "Active"
	// ConditionFallback is true while a source is down and the fallback stands in for it.
	ConditionFallback = "Fallback"
	// ConditionPaused is true while an annotation keeps the object from scaling.
	ConditionPaused = "Paused"
	// ConditionHibernated is true while the workload is scaled down to zero or to its idle count.
	ConditionHibernated = "Hibernated"
	// ConditionHeld is true while a scale-in is wanted and waits, because a caller of the workload fails. It is Escale's own.
	ConditionHeld = "Held"
)

// Condition is one thing known of an object. KEDA's conditions have no times.
type Condition struct {
	// Type of the condition.
	Type string `json:"type"`
	// Status is True, False or Unknown.
	Status metav1.ConditionStatus `json:"status"`
	// Reason in one word.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message is one sentence with the next step.
	// +optional
	Message string `json:"message,omitempty"`
}

// Conditions of an object.
type Conditions []Condition

// Get returns the condition of a type; the zero Condition if there is none.
func (c Conditions) Get(kind string) Condition {
	for _, have := range c {
		if have.Type == kind {
			return have
		}
	}
	return Condition{}
}

// Set puts a condition in the place of that of the same type, or last.
func (c *Conditions) Set(cond Condition) {
	for i := range *c {
		if (*c)[i].Type == cond.Type {
			(*c)[i] = cond
			return
		}
	}
	*c = append(*c, cond)
}
