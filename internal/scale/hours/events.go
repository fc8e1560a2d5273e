package hours

import (
	"fmt"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
)

// actor is the name of office hours in the timeline.
const actor = "hours"

// news is one thing that happened to a workload, for its events and for the timeline.
type news struct {
	kind    string // of the event
	reason  string // of the event
	action  string // of the record, in the past tense
	from    string
	to      string
	message string
}

func (r *reconciler) tell(w workload, n news) {
	r.timeline.Add(timeline.Record{
		Time: w.facts.Now, Actor: actor, Action: n.action, From: n.from, To: n.to, Reason: n.message,
		Object: timeline.Object{Kind: w.kind, Namespace: w.object.GetNamespace(), Name: w.object.GetName()},
	})
	r.events.Eventf(w.object, nil, n.kind, n.reason, n.reason, "%s", n.message)
}

func downNews(w workload, p Plan, l Ledger) news {
	n := news{
		kind: corev1.EventTypeNormal, reason: "OfficeHoursEnded", action: "took down",
		from: w.replicasText(w.facts.Replicas), to: w.replicasText(p.Replicas), message: p.Why,
	}
	if !p.Until.IsZero() {
		n.message += fmt.Sprintf(", until %s (in %s)", p.Until.UTC().Format(time.RFC3339), p.Until.Sub(w.facts.Now).Round(time.Minute))
	}
	if l.CPU > 0 || l.Memory > 0 {
		n.message += fmt.Sprintf("; frees a reservation of %.2f cores and %.2f GiB", l.CPU, l.Memory/gib)
	}
	return n
}

func upNews(w workload, p Plan) news {
	n := news{
		kind: corev1.EventTypeNormal, reason: "OfficeHoursBegan", action: "brought up",
		from: w.replicasText(w.facts.Replicas), to: w.replicasText(p.Replicas), message: p.Why,
	}
	if w.kind == "ScaledObject" {
		n.to = w.replicasText(Unpaused)
	}
	if since := w.ledger.DownSince; !since.IsZero() {
		saved := w.ledger.downtime(w.facts.Now)
		n.message += fmt.Sprintf("; it was down for %s", w.facts.Now.Sub(since).Round(time.Second))
		if saved != (Saved{}) {
			n.message += fmt.Sprintf(" and saved reservations of %.2f CPU-hours and %.2f GiB-hours", saved.CPUHours, saved.MemoryGiBHours)
		}
	}
	return n
}

func errorNews(message string) news {
	return news{kind: corev1.EventTypeWarning, reason: "OfficeHoursInvalid", action: "left as it is", message: message}
}
