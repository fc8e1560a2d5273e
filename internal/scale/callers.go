package scale

import (
	"context"
	"fmt"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/signal"
)

const (
	// callersEvery is how often callers are looked at while pods are to be taken away.
	callersEvery = 5 * time.Second
	// callersSince is how long ago a workload may have called last to count as a caller.
	callersSince = 30 * time.Minute
	// errorsSince is the time over which errors are counted, errorsOf the share of requests that is failing.
	errorsSince = time.Minute
	errorsOf    = 0.5
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
		newest, ok := s.signals.Facts(c.Caller)
		if !ok {
			continue
		}
		if why := failure(newest, s.signals.History(c.Caller, now.Add(-errorsSince))); why != "" {
			return &decision.Failing{Caller: c.Caller.String(), Why: why}
		}
	}
	return nil
}

// failure says in words why a workload fails; empty if it does not. One that is meant to have no pod is calm.
func failure(newest signal.Facts, minute []signal.Facts) string {
	switch {
	case newest.Desired > 0 && newest.Ready == 0:
		return "has no pod that is ready"
	case newest.Desired > 1 && 2*newest.Ready < newest.Desired:
		return fmt.Sprintf("has %d of %d pods ready", newest.Ready, newest.Desired)
	}
	var rate, errors float64
	for _, f := range minute {
		rate += f.Rate
		errors += f.ErrorRate
	}
	if rate >= 1 && errors/rate >= errorsOf {
		return fmt.Sprintf("answers %.0f %% of its requests with errors", 100*errors/rate)
	}
	return ""
}
