package decision

import "time"

// Excess is when a metric was read whose newest value alone, without windows, asks for more pods than there are; zero if
// none does. It tells how long the windows held a demand back.
func Excess(set *Settings, replicas int32, readings []Reading) time.Time {
	var at time.Time
	for i := range set.Metrics {
		m := &set.Metrics[i]
		if i >= len(readings) || readings[i].At.IsZero() || m.Target <= 0 {
			continue
		}
		if replicas == 0 && !readings[i].Active {
			continue // what is left of former work wakes nobody
		}
		share := readings[i].Value / m.Target
		if m.Kind == PerPod {
			share /= max(float64(replicas), 1e-9)
		}
		if share > 1+set.Up.Tolerance && (at.IsZero() || readings[i].At.Before(at)) {
			at = readings[i].At
		}
	}
	return at
}
