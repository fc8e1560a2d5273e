package scale

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/scale/view"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// maxRetry is the longest wait before a broken connection of a source that pushes is made anew.
	maxRetry = 30 * time.Second
	// mostReads is how many sources are read at a time, mostFailingReads how many of them may have failed before: servers
	// that do not answer must not keep those that do from being read.
	mostReads        = 256
	mostFailingReads = 64
	// mostActs is how many workloads are scaled at a time.
	mostActs = 32
)

// key names a ScaledObject or ScaledJob.
type key struct {
	kind string
	name types.NamespacedName
}

// subject is an object that is scaled. decide is called from the loop only; it must not block.
type subject interface {
	feed() []*source
	polling() time.Duration
	decide(now time.Time)
	close()
}

// Scaler scales all objects. Setup makes it; the manager starts it.
type Scaler struct {
	client client.Client
	// live reads past the cache: a status is compared with what is there, not with what was before the last write.
	live     client.Reader
	scales   scale.ScalesGetter
	signals  *signal.Store
	timeline *timeline.Timeline
	watcher  *waterfall.Watcher
	recorder events.EventRecorder
	log      *slog.Logger
	now      func() time.Time
	past     view.Recall // what the pages show, and
	advices  advices     // what they say of it

	reads, failingReads, acts chan struct{}
	reports                   *reports

	// running ends when the scaler does; sources and acts run under it.
	running context.Context
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	mu         sync.Mutex
	subjects   map[key]subject
	byWorkload map[signal.Workload]*object
	observed   map[signal.Workload]observation
	dirty      map[subject]struct{}
	wake       chan struct{}
}

func newScaler(log *slog.Logger) *Scaler {
	s := &Scaler{
		log: log, now: time.Now,
		reads: make(chan struct{}, mostReads), failingReads: make(chan struct{}, mostFailingReads),
		acts:     make(chan struct{}, mostActs),
		subjects: map[key]subject{}, byWorkload: map[signal.Workload]*object{},
		observed: map[signal.Workload]observation{}, dirty: map[subject]struct{}{},
		wake: make(chan struct{}, 1),
	}
	s.running, s.stop = context.WithCancel(context.Background())
	return s
}

// Start decides until ctx ends. Without objects it neither asks for live facts nor wakes.
func (s *Scaler) Start(ctx context.Context) error {
	defer s.finish()
	s.reports.start(ctx, &s.tasks)
	var events <-chan signal.Event
	unsubscribe := func() {}
	for {
		switch busy := s.busy(); {
		case busy && events == nil:
			events, unsubscribe = s.subscribe(ctx)
		case !busy && events != nil:
			unsubscribe()
			events = nil
		}
		select {
		case <-ctx.Done():
			unsubscribe()
			return nil
		case <-s.wake:
			s.decideDirty()
		case e, ok := <-events:
			switch {
			case !ok:
				events = nil
			case e.Held != types.NamespacedName{}:
				s.held(e)
			default:
				s.tick()
			}
		}
	}
}

func (s *Scaler) finish() {
	s.stop()
	for _, sub := range s.all() {
		sub.close()
	}
	s.tasks.Wait()
}

func (s *Scaler) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subjects) > 0
}

// subscribe returns the ticks of the signal store, or of a clock where there is none.
func (s *Scaler) subscribe(ctx context.Context) (<-chan signal.Event, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if events := s.signals.Subscribe(ctx); events != nil {
		return events, cancel
	}
	events := make(chan signal.Event)
	go func() {
		defer close(events)
		ticker := time.NewTicker(signal.Pace)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-ticker.C:
				select {
				case events <- signal.Event{At: at}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return events, cancel
}

// tick reads what is due and decides for every object.
func (s *Scaler) tick() {
	now := s.now()
	for _, sub := range s.all() {
		for _, src := range sub.feed() {
			if !src.due(now) {
				continue
			}
			if src.local {
				src.read(s.running, s.now)
			} else {
				s.readSoon(src)
			}
		}
		sub.decide(now)
	}
}

func (s *Scaler) all() []subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]subject, 0, len(s.subjects))
	for _, sub := range s.subjects {
		all = append(all, sub)
	}
	return all
}

// held wakes the workloads behind a Service that has requests waiting.
func (s *Scaler) held(e signal.Event) {
	for _, b := range s.signals.Backends(e.Held) {
		s.mu.Lock()
		o := s.byWorkload[b.Workload]
		s.mu.Unlock()
		if o != nil {
			o.held(e.At)
			o.decide(s.now())
		}
	}
}

// changed asks for a decision soon.
func (s *Scaler) changed(sub subject) {
	s.mu.Lock()
	s.dirty[sub] = struct{}{}
	s.mu.Unlock()
	s.wakeUp()
}

func (s *Scaler) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Scaler) decideDirty() {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[subject]struct{}{}
	s.mu.Unlock()
	now := s.now()
	for sub := range dirty {
		sub.decide(now)
	}
}

// readSoon reads a source beside the loop. The caller has taken the read.
func (s *Scaler) readSoon(src *source) {
	s.task(func(ctx context.Context) {
		for again := true; again && ctx.Err() == nil; {
			var news bool
			if news, again = s.readOnce(ctx, src); news {
				s.changed(src.ownedBy())
			}
		}
	})
}

func (s *Scaler) readOnce(ctx context.Context, src *source) (news, again bool) {
	room := s.reads
	if src.failing() {
		room = s.failingReads
	}
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return false, false
	}
	return src.read(ctx, s.now)
}

func (s *source) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures > 0
}

// task runs f under the scaler's life, unless that is over.
func (s *Scaler) task(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running.Err() != nil {
		return
	}
	s.tasks.Go(func() { f(s.running) })
}

// follow lets a source that can push wake its object.
func (s *Scaler) follow(src *source) {
	pusher, ok := src.Source.(trigger.Pusher)
	if !ok || src.local {
		return // the loop reads local sources on the same ticks and events
	}
	var ctx context.Context
	ctx, src.cancel = context.WithCancel(s.running)
	s.task(func(context.Context) {
		for wait := firstRetry; ctx.Err() == nil; wait = min(2*wait, maxRetry) {
			began := s.now()
			err := pusher.Watch(ctx, func() {
				src.setPushing(true)
				if src.demand() {
					s.readSoon(src)
				}
			})
			src.setPushing(false)
			if err == nil || isNoPush(err) {
				return
			}
			if s.now().Sub(began) > time.Minute {
				wait = firstRetry
			}
			pauseFor(ctx, wait)
		}
	})
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// put takes an object in, in the place of what had its key, and begins to read its sources.
func (s *Scaler) put(k key, sub subject, fresh []*source) {
	s.mu.Lock()
	s.subjects[k] = sub
	if o, ok := sub.(*object); ok {
		s.byWorkload[o.workload] = o
	}
	s.mu.Unlock()
	for _, src := range sub.feed() {
		src.adopt(sub, sub.polling())
	}
	for _, src := range fresh {
		s.follow(src)
		if src.demand() {
			s.readSoon(src)
		}
	}
	s.changed(sub)
}

// drop ends an object; nothing is scaled by it any more.
func (s *Scaler) drop(k key) {
	s.mu.Lock()
	sub := s.subjects[k]
	delete(s.subjects, k)
	if o, ok := sub.(*object); ok && s.byWorkload[o.workload] == o {
		delete(s.byWorkload, o.workload)
	}
	if sub != nil {
		delete(s.dirty, sub)
	}
	s.mu.Unlock()
	if sub != nil {
		sub.close()
	}
	s.wakeUp() // it may have been the last
}

func (s *Scaler) subject(k key) subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subjects[k]
}

// replace puts an object in the place of one of the same name. Sources that both have go on.
func (s *Scaler) replace(k key, old, sub *object, fresh []*source) {
	s.mu.Lock()
	if s.byWorkload[old.workload] == old {
		delete(s.byWorkload, old.workload)
	}
	delete(s.dirty, old)
	s.mu.Unlock()
	old.retire(sub.sources)
	s.put(k, sub, fresh)
}
