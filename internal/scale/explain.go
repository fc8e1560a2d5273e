package scale

import (
	"context"
	"net/url"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/replay"
	"github.com/escale-dev/escale/internal/scale/trigger"
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

// ViewSettings answers with the settings of all workloads that are scaled here, as replay.Present.
func (s *Scaler) ViewSettings(context.Context, url.Values) (any, error) {
	out := []replay.Present{}
	for _, sub := range s.all() {
		if o, ok := sub.(*object); ok {
			out = append(out, o.present())
		}
	}
	return out, nil
}

// present is what a replay needs of an object. A formula and a pause are not replayed, and neither is a metric that no
// recording holds.
func (o *object) present() replay.Present {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := replay.Present{Workload: o.workload, Settings: replay.Settings{Decision: *o.base, StartDelay: replay.DefaultStartDelay}}
	d := &p.Settings.Decision
	d.Metrics = nil
	if d.Formula != nil {
		p.Left = append(p.Left, "the formula")
		d.Formula = nil
	}
	d.Pause = decision.Pause{}
	i := 0
	for n, src := range o.sources {
		if n >= len(o.snaps) || o.set == nil {
			break
		}
		for _, m := range o.snaps[n].metrics {
			if column := columnOf(src.config, m.Name); column == "" {
				p.Left = append(p.Left, "trigger "+src.config.Type)
			} else if i < len(o.set.Metrics) {
				d.Metrics = append(d.Metrics, o.set.Metrics[i])
				p.Settings.Metrics = append(p.Settings.Metrics, replay.Metric{Column: column})
			}
			i++
		}
	}
	return p
}

// columnOf is where a recording holds what a metric reads; empty: nowhere.
func columnOf(c trigger.Config, metric string) replay.Column {
	switch {
	case c.Type == trigger.TypeRequests && c.Metadata["metric"] == "rate":
		return replay.Rate
	case c.Type == trigger.TypeRequests:
		return replay.InFlight
	case c.Type == "cpu":
		return replay.CPU
	case c.Type == "memory":
		return replay.Memory
	case c.Type == "cron":
		return ""
	}
	return replay.Lag + replay.Column(":"+metric)
}
