package scale

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/signal"
)

// source is one trigger under way.
type source struct {
	trigger.Source
	config trigger.Config
	// local says that reading costs no time: the source reads memory of this process.
	local bool
	// every is how long after a success the next read is due, longest the same after failures and while the source pushes.
	every, longest time.Duration

	cancel context.CancelFunc
	// lag tells the signal store what waits; nil where the store knows the value from elsewhere.
	lag func(metric string, value float64, at time.Time)

	mu sync.Mutex
	// owner is whom news are for: a source outlives a change of its object that does not concern it.
	owner    subject
	metrics  []trigger.Metric
	readings []decision.Reading
	next     time.Time
	reading  bool
	again    bool
	pushing  bool
	failures int
	err      error
}

// local says that a type's source reads memory of this process.
func local(kind string) bool {
	switch kind {
	case "cpu", "memory", "cron", trigger.TypeRequests:
		return true
	}
	return false
}

const (
	// firstRetry is how long after a failure a source is read again; each further failure doubles it.
	firstRetry = time.Second
	// slack lets a read be due at the tick nearest to its time: a read ends a little after the tick that began it, and
	// would else wait for the second tick from there.
	slack = signal.Pace / 2
	// defaultPolling is KEDA's pollingInterval.
	defaultPolling = 30 * time.Second
)

func newSource(src trigger.Source, c trigger.Config) *source {
	s := &source{
		Source: src, config: c, local: local(c.Type), metrics: src.Metrics(),
		every: trigger.Every(c.Type),
	}
	s.readings = make([]decision.Reading, max(len(s.metrics), 1))
	if !s.local && c.Signals != nil {
		s.lag = func(metric string, value float64, at time.Time) { c.Signals.SetLag(c.Workload, metric, value, at) }
	}
	return s
}

// adopt gives the source to an object, with its polling interval.
func (s *source) adopt(owner subject, polling time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner, s.longest = owner, max(polling, s.every)
}

func (s *source) ownedBy() subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// due says whether to read now, and takes the read if so.
func (s *source) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading || now.Before(s.next) {
		return false
	}
	s.reading = true
	return true
}

// demand asks for a read at once: what the source gave may be old. It returns false if one is under way, which is then
// followed by another.
func (s *source) demand() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading {
		s.again = true
		return false
	}
	s.reading = true
	return true
}

// read asks the source once, after due or demand said so, and reports whether what it gave is news and whether to read
// again at once.
func (s *source) read(ctx context.Context, now func() time.Time) (news, again bool) {
	got, err := s.Read(ctx)
	at := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		news = s.failed(err, at)
	} else {
		news = s.succeeded(got, at)
	}
	again, s.again = s.again, false
	s.reading = again
	return news, again
}

func (s *source) failed(err error, at time.Time) bool {
	news := s.err == nil
	s.err = err
	for i := range s.readings {
		if s.readings[i].FailingSince.IsZero() {
			s.readings[i].FailingSince = at
		}
	}
	s.next = at.Add(s.pause())
	s.failures++
	return news
}

// pause is how long to wait after a failure. A source in memory costs nothing to read and is read at each tick.
func (s *source) pause() time.Duration {
	if s.local {
		return s.every - slack
	}
	return min(firstRetry<<min(s.failures, 10), s.longest)
}

func (s *source) succeeded(got []trigger.Reading, at time.Time) bool {
	news := s.err != nil || len(got) != len(s.metrics)
	s.err, s.failures = nil, 0
	s.next = at.Add(s.every - slack)
	if s.pushing {
		s.next = at.Add(s.longest)
	}
	if len(got) != len(s.readings) {
		s.readings = make([]decision.Reading, len(got))
	}
	if len(got) != len(s.metrics) {
		s.metrics = make([]trigger.Metric, len(got))
	}
	for i, r := range got {
		old := s.readings[i]
		news = news || old.At.IsZero() || old.Value != r.Value || old.Active != r.Active || s.metrics[i] != r.Metric
		if s.metrics[i] != r.Metric {
			s.metrics = slices.Clone(s.metrics) // a snapshot may still read the old ones
			s.metrics[i] = r.Metric
		}
		s.readings[i] = decision.Reading{Value: r.Value, Active: r.Active, At: r.At}
		if s.lag != nil {
			s.lag(r.Name, r.Value, r.At)
		}
	}
	return news
}

// setPushing says whether the server tells of changes now.
func (s *source) setPushing(pushing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pushing && !pushing {
		s.next = time.Time{} // what changed meanwhile is not known
	}
	s.pushing = pushing
}

// snapshot is what is known of a source. Its metrics are never written to.
type snapshot struct {
	metrics  []trigger.Metric
	failures int
	err      error
}

// appendTo appends the newest readings and returns the rest that is known.
func (s *source) appendTo(readings []decision.Reading) ([]decision.Reading, snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(readings, s.readings...), snapshot{s.metrics, s.failures, s.err}
}

func (s *source) close() {
	if s.cancel != nil {
		s.cancel()
	}
	_ = s.Close() // what it still had to say is of no use
}

// workloadOf names a target for the signal store.
func workloadOf(kind, namespace, name string) signal.Workload {
	return signal.Workload{Kind: kind, Namespace: namespace, Name: name}
}
