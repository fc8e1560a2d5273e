package view

import (
	"fmt"
	"github.com/escale-dev/escale/internal/web"
	"time"
)

// notices says what keeps a workload from what it should have.
func notices(w Workload, now time.Time) []web.Notice {
	n := web.Notice{What: w.Object + " " + w.ID(), Page: "/scaling/" + w.ID(), State: stateOf(w)}
	explain := fmt.Sprintf("escale scale explain %s -n %s", w.Name, w.Namespace)
	switch n.State {
	case Conflict:
		n.Text, n.Next = sentence(w.Problem), fmt.Sprintf("kubectl get hpa,scaledobject -n %s", w.Namespace)
	case Failing:
		n.Text, n.Next = sentence(w.Problem), fmt.Sprintf("kubectl describe %s %s -n %s", lower(w.Object), w.Name, w.Namespace)
	case OnFallback, Blind:
		n.Text, n.Next = sourceText(w, now), explain
	case Held, AtMost:
		n.Text, n.Next = sentence(w.Limit), explain
		if n.State == AtMost {
			n.Text = fmt.Sprintf("The demand asks for %d pods, and maxReplicaCount is %d.", w.Wanted, w.Max)
			if w.Wanted <= w.Max {
				return nil
			}
		}
	default:
		return nil
	}
	return []web.Notice{n}
}

func lower(kind string) string {
	if kind == "ScaledJob" {
		return "scaledjob"
	}
	return "scaledobject"
}

// sourceText names the sources that cannot be read, and what counts in their place.
func sourceText(w Workload, now time.Time) string {
	for _, t := range w.Triggers {
		if t.Failures == 0 {
			continue
		}
		instead := "its last value counts"
		switch {
		case t.Fallback:
			instead = "the fallback counts"
		case t.At.IsZero():
			instead = "nothing is known of it"
		default:
			instead += fmt.Sprintf(", which is %s old", now.Sub(t.At).Round(time.Second))
		}
		return fmt.Sprintf("Trigger %s cannot be read (%s): %s.", t.Type, t.Error, instead)
	}
	return reasonOf(w)
}
