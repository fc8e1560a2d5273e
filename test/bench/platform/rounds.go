package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/timeline"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Shop is a platform that runs the example shop.
type Shop struct {
	*Platform
	State   engine.State
	Objects client.Client
	remove  func() error
}

// StartShop starts a platform with the example shop in a temporary data directory, and waits until an App of it has n
// pods. The working directory must be the repository.
func StartShop(ctx context.Context, app client.ObjectKey, n int) (*Shop, error) {
	dir, err := os.MkdirTemp("", "escale-bench")
	if err != nil {
		return nil, err
	}
	s := &Shop{remove: func() error { return os.RemoveAll(dir) }}
	if s.Platform, err = Start(filepath.Join(dir, "data"), "examples/shop"); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	if err := s.await(ctx, app, n); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Shop) await(ctx context.Context, app client.ObjectKey, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if s.State, err = s.Wait(ctx, Ready); err != nil {
		return err
	}
	if s.Objects, err = s.Platform.Objects(); err != nil {
		return err
	}
	return AwaitPods(ctx, s.Objects, app, n)
}

// Stop ends the platform and removes its data.
func (s *Shop) Stop() error { return errors.Join(s.Platform.Stop(), s.remove()) }

// Stages are the stages of a scale-up in order, as the timeline names them.
var Stages = []string{"signal", "decision", "placement", "node", "start", "ready", "routed", "first answer"}

// Scaleup is a scale-up as the platform recorded it.
type Scaleup struct {
	// From and To are in words, such as "2 pods".
	From, To string
	// Total is from the demand to the first answer of a new pod; it is the sum of Stages.
	Total time.Duration
	// End is when that answer was given.
	End    time.Time
	Stages map[string]time.Duration
}

// AwaitScaleup waits for the first scale-up of a workload since a time to be recorded.
func AwaitScaleup(ctx context.Context, dir engine.Dir, workload string, since time.Time) (Scaleup, error) {
	for {
		records, err := timeline.Load(dir.Timeline())
		if err != nil {
			return Scaleup{}, err
		}
		for _, r := range records {
			if r.Action == "scaled up" && r.Object.Name == workload && !r.Time.Before(since) {
				return scaleupOf(r)
			}
		}
		if err := Pause(ctx, 50*time.Millisecond); err != nil {
			return Scaleup{}, fmt.Errorf("no scale-up of %q was recorded in time: `escale scale explain %[1]s` says where it stands", workload)
		}
	}
}

// scaleupOf reads a record. It was made at the time at which the API server accepted the change; the stages after the
// decision follow.
func scaleupOf(r timeline.Record) (Scaleup, error) {
	out := Scaleup{From: r.From, To: r.To, End: r.Time, Stages: map[string]time.Duration{}}
	for i, s := range r.Stages {
		out.Stages[s.Name] = s.Duration
		out.Total += s.Duration
		if i >= 2 {
			out.End = out.End.Add(s.Duration)
		}
	}
	if len(r.Stages) != len(Stages) {
		return out, fmt.Errorf("no new pod answered: %s", r.Reason)
	}
	return out, nil
}

// AppStart is what the application itself needs of it: its containers' start, and until it is ready.
func (s Scaleup) AppStart() time.Duration { return s.Stages["start"] + s.Stages["ready"] }

// String is the stages in seconds.
func (s Scaleup) String() string {
	var b strings.Builder
	for i, name := range Stages {
		if i > 0 {
			b.WriteString("  ")
		}
		fmt.Fprintf(&b, "%s %.3f", name, s.Stages[name].Seconds())
	}
	return b.String()
}

// PrintStages prints each stage of several scale-ups and returns them for the RESULT line, in milliseconds.
func PrintStages(all []Scaleup) string {
	line := ""
	for _, name := range Stages {
		var d []time.Duration
		for _, s := range all {
			d = append(d, s.Stages[name])
		}
		p50, p95 := Percentile(d, 50), Percentile(d, 95)
		fmt.Printf("  %-12s median %7.3f s, 95th percentile %7.3f s\n", name, p50.Seconds(), p95.Seconds())
		key := strings.TrimPrefix(name, "first ")
		line += fmt.Sprintf(" %[1]s_p50_ms=%[2]d %[1]s_p95_ms=%[3]d", key, p50.Milliseconds(), p95.Milliseconds())
	}
	return line
}

// PrintOwnStart says how much of the whole is the application's own start, and returns it for the RESULT line. own is
// how long its program takes by itself, outside of the platform.
func PrintOwnStart(all []Scaleup, whole, own time.Duration) string {
	var starts []time.Duration
	for _, s := range all {
		starts = append(starts, s.AppStart())
	}
	start := Percentile(starts, 50)
	share := own.Seconds() / max(whole.Seconds(), 1e-9)
	fmt.Printf("the application's own start: by itself outside of the platform %.3f s, %.0f %% of the whole; start and ready here %.3f s\n",
		own.Seconds(), 100*share, start.Seconds())
	return fmt.Sprintf(" own_p50_ms=%d own_share=%.2f app_start_p50_ms=%d", own.Milliseconds(), share, start.Milliseconds())
}

// Pause waits, unless ctx ends before.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
