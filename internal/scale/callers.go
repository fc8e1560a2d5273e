package scale

import (
	"context"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/signal"
)

const (
	// callersEvery is how often callers are looked at while pods are to be taken away.
	callersEvery = 5 * time.Second
	// callersSince is how long ago a workload may have called last to count as a caller.
	callersSince = 30 * time.Minute
	// failingSince is the time over which a caller is judged.
	failingSince = time.Minute
)

// callersSeen is what was found when the callers of a workload were looked at.
type callersSeen struct {
	at      time.Time
	failing *decision.Failing
}

// failingCaller finds a caller of a workload that fails; nil if none does.
func (s *Scaler) failingCaller(ctx context.Context, w signal.Workload) *decision.Failing {
	calls, err := s.signals.Callers(ctx, w)
	if err != nil {
		s.log.Warn("callers not known", "workload", w.String(), "err", err)
	}
	now := s.now()
	for _, c := range calls {
		if c.Caller.Kind == signal.KindGateway || c.Caller == w || now.Sub(c.LastSeen) > callersSince {
			continue
		}
		if fails, why := signal.Failing(s.signals.History(c.Caller, now.Add(-failingSince))); fails {
			return &decision.Failing{Caller: c.Caller.String(), Why: why}
		}
	}
	return nil
}
