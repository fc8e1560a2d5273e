package signal

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// Pace is how often facts are gathered while somebody reads.
	Pace = time.Second
	// IdlePace is how often they are gathered while nobody reads, where a recording is kept.
	IdlePace = 10 * time.Second
	// attention is how long a question keeps the pace up.
	attention = time.Minute
	// remembered is how long a workload is kept that is gone, and a call that was not seen again.
	remembered = time.Hour
	// lagFresh is how long a lag keeps a workload among those that facts are gathered of, where nothing else does.
	lagFresh = 5 * time.Second
)

// Config is what a Store gathers from. Every field may be left out.
type Config struct {
	Topology Topology
	Usage    UsageReader
	Calls    CallReader
	// Recorder receives the facts of each tick. It is what keeps the IdlePace.
	Recorder Recorder
}

// Recorder keeps facts. Record is called from one goroutine after each tick; the facts are not changed afterwards, but
// the slice is.
type Recorder interface {
	Record(at time.Time, all []Recorded)
}

// Recorded is the facts of one workload.
type Recorded struct {
	Workload Workload
	Facts    Facts
}

// Store holds the live facts; New makes one that gathers them. Its methods may be called at the same time from anywhere; on a nil Store those that tell
// do nothing and those that ask know nothing.
type Store struct {
	cfg Config
	// lastRead is when somebody asked last, in Unix nanoseconds.
	lastRead atomic.Int64
	// attended tells Run that somebody reads again.
	attended chan struct{}

	// ticking is held during a tick; it guards sources and recorded.
	ticking  sync.Mutex
	sources  []*counters
	recorded []Recorded

	mu     sync.RWMutex
	lastAt time.Time
	series map[Workload]*series

	pods      podStages
	externals externals

	subMu sync.Mutex
	subs  map[*subscriber]struct{}
}

// New makes a store. Run gathers facts for it.
func New(c Config) *Store {
	return &Store{cfg: c, attended: make(chan struct{}, 1)}
}

// AddTraffic adds a data plane to ask each second.
func (s *Store) AddTraffic(source TrafficSource) {
	if s == nil {
		return
	}
	s.ticking.Lock()
	defer s.ticking.Unlock()
	s.sources = append(s.sources, &counters{source: source})
}

// Held says at once that a request waits for a Service none of whose pods is ready. It does not block.
func (s *Store) Held(service types.NamespacedName) {
	if s == nil {
		return
	}
	s.publish(Event{Held: service, At: time.Now()})
}

// Backends lists the workloads behind a Service, also while they have no pod.
func (s *Store) Backends(service types.NamespacedName) []Backend {
	if s == nil || s.cfg.Topology == nil {
		return nil
	}
	return s.cfg.Topology.Backends(service)
}

// PodReached notes when a data plane saw a pod reach a stage; address is "ip:port". Only the first time
// counts, until PodForget.
func (s *Store) PodReached(address string, stage PodStage, at time.Time) {
	if s != nil {
		s.pods.reached(address, stage, at)
	}
}

// SetLag tells how much work waits in the source of one trigger of a workload, such as the messages of a queue.
func (s *Store) SetLag(w Workload, trigger string, value float64, at time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seriesOf(w).setLag(Lag{Trigger: trigger, Value: value, At: at})
}

// seriesOf is the series of a workload, new if need be.
func (s *Store) seriesOf(w Workload) *series {
	have := s.series[w]
	if have == nil {
		if s.series == nil {
			s.series = map[Workload]*series{}
		}
		have = newSeries()
		s.series[w] = have
	}
	return have
}

// Facts are the newest facts of a workload; false when nothing is known of it. To ask keeps the store gathering facts
// each second for a minute.
func (s *Store) Facts(w Workload) (Facts, bool) {
	if s == nil {
		return Facts{}, false
	}
	s.attend()
	s.mu.RLock()
	defer s.mu.RUnlock()
	have := s.series[w]
	if have == nil || have.newest.At.IsZero() {
		return Facts{}, false
	}
	return have.newest, true
}

// History returns the facts of a workload since a time, oldest first: one per tick of the last five minutes, before
// that one per ten seconds of the last hour, with the mean of the values, the latency of all ten seconds, and the
// newest counts of pods.
func (s *Store) History(w Workload, since time.Time) []Facts {
	if s == nil {
		return nil
	}
	s.attend()
	s.mu.RLock()
	defer s.mu.RUnlock()
	have := s.series[w]
	if have == nil {
		return nil
	}
	return have.history(since)
}

// Workloads lists the workloads that facts are known of, in order.
func (s *Store) Workloads() []Workload {
	if s == nil {
		return nil
	}
	s.attend()
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Workload, 0, len(s.series))
	for w, have := range s.series {
		if !have.newest.At.IsZero() {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, compareWorkloads)
	return all
}

func compareWorkloads(a, b Workload) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
}

// Subscribe returns events until ctx ends: a tick each second, after the facts of that second are in place, and one at
// once when a request is held. A reader that lags behind loses ticks, never a held request; one that has not taken a
// Service's event yet gets no second one for it.
func (s *Store) Subscribe(ctx context.Context) <-chan Event {
	if s == nil {
		return nil
	}
	sub := newSubscriber()
	s.subMu.Lock()
	if s.subs == nil {
		s.subs = map[*subscriber]struct{}{}
	}
	s.subs[sub] = struct{}{}
	s.subMu.Unlock()
	s.attend()
	go func() {
		sub.run(ctx)
		s.subMu.Lock()
		defer s.subMu.Unlock()
		delete(s.subs, sub)
	}()
	return sub.out
}

func (s *Store) publish(e Event) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	for sub := range s.subs {
		sub.tell(e)
	}
}

// Callers lists who calls a workload, as far as traffic shows it, in order.
func (s *Store) Callers(ctx context.Context, callee Workload) ([]Call, error) {
	if s == nil {
		return nil, nil
	}
	var calls []Call
	s.mu.RLock()
	if have := s.series[callee]; have != nil && !have.lastRequest.IsZero() {
		calls = append(calls, Call{Caller: Workload{Kind: KindGateway}, Callee: callee, LastSeen: have.lastRequest})
	}
	s.mu.RUnlock()
	if s.cfg.Calls == nil {
		return calls, nil
	}
	more, err := s.cfg.Calls.Callers(ctx, callee)
	calls = append(calls, more...)
	slices.SortFunc(calls, func(a, b Call) int { return compareWorkloads(a.Caller, b.Caller) })
	return calls, err
}

// attend keeps the pace up for a while.
func (s *Store) attend() {
	now := time.Now().UnixNano()
	if before := s.lastRead.Swap(now); now-before < int64(attention) {
		return
	}
	select {
	case s.attended <- struct{}{}:
	default:
	}
}
