package scale

import (
	"context"
	"net/url"

	"github.com/escale-dev/escale/internal/scale/decision"
)

// ViewDecision answers a question of the command line about the workload in the query: its newest decision as a
// *decision.Explanation, nil where nothing here scales it.
func (s *Scaler) ViewDecision(_ context.Context, query url.Values) (any, error) {
	s.mu.Lock()
	o := s.byWorkload[workloadOf(query.Get("kind"), query.Get("namespace"), query.Get("name"))]
	s.mu.Unlock()
	if o == nil {
		return (*decision.Explanation)(nil), nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.decided || o.set == nil {
		return (*decision.Explanation)(nil), nil
	}
	x := decision.Explain(o.set, &o.plan, o.readings, o.decidedAt)
	return &x, nil
}
