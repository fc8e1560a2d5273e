// Command scaleup measures how long a peak waits: the load on the example shop's storefront rises fivefold within a
// second, and the time counts from the first excess request to the first answer of a new pod.
//
//	go run ./test/bench/scaleup [-rounds 20] [-base 30] [-factor 5]
//
// It starts a platform with the shop in a temporary data directory and a private network, scales the
// storefront by the requests per second that the gateway sees (15 for each pod, 2 to 12 pods), and sends requests at a
// fixed rate, whether earlier ones are answered or not. The stages are those of the platform's own timeline. How long
// the storefront takes to start by itself is measured beside, outside of the platform. The last line is RESULT key=value ….
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/test/bench/platform"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var storefront = client.ObjectKey{Namespace: "shop", Name: "storefront"}

// options of a run.
type options struct {
	rounds, base, factor int
	keep                 time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 20, "how often the load rises")
	flag.IntVar(&o.base, "base", 30, "requests per second before the rise")
	flag.IntVar(&o.factor, "factor", 5, "how many times as much after it")
	flag.DurationVar(&o.keep, "timeout", 45*time.Second, "how long a round waits for an answer of a new pod")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "scaleup:", err)
		os.Exit(1)
	}
}

// round is what one rise came to.
type round struct {
	total  time.Duration
	stages map[string]time.Duration
	to     string
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "scaleup")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("machine:", platform.Machine())
	own, err := ownStart(ctx, dir)
	if err != nil {
		return err
	}
	p, err := platform.Start(filepath.Join(dir, "data"), "examples/shop")
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop() }()
	ready, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	state, err := p.Wait(ready, platform.Ready)
	if err != nil {
		return err
	}
	c, err := p.Objects()
	if err != nil {
		return err
	}
	if err := platform.AwaitPods(ready, c, storefront, 2); err != nil {
		return err
	}
	if err := platform.Scale(ready, c, storefront, scaling); err != nil {
		return err
	}
	load := newLoad(state, o.base)
	defer load.stop()
	rounds, err := rise(ctx, c, p.Dir, load, o)
	report(rounds, own, load, o)
	return err
}

// scaling is by requests per second; pods go as soon as the long window of the demand allows, so that rounds are short.
const scaling = `{"min": 2, "max": 12, "requestsPerSecond": 15, "requestsInFlight": null, "quietSeconds": 5}`

// ownStart is how long the storefront takes to its first answer outside of the platform, at the median of five.
func ownStart(ctx context.Context, dir string) (time.Duration, error) {
	program := filepath.Join(dir, "storefront")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./examples/shop/storefront").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the storefront: %w\n%s", err, out)
	}
	var all []time.Duration
	for range 5 {
		took, err := platform.OwnStart(ctx, "/assets/style.css", []string{"DATABASE=127.0.0.1:1"}, program)
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return platform.Percentile(all, 50), nil
}

// rise runs the rounds; those before a failure are returned with it.
func rise(ctx context.Context, c client.Client, dir engine.Dir, load *load, o options) ([]round, error) {
	var out []round
	for i := range o.rounds {
		quiet, cancel := context.WithTimeout(ctx, 4*time.Minute)
		err := platform.AwaitPods(quiet, c, storefront, 2)
		cancel()
		if err != nil {
			return out, fmt.Errorf("before round %d: %w", i+1, err)
		}
		// A phase of its own, so that rounds do not fall on the same part of the second.
		if err := pause(ctx, 3*time.Second+time.Duration(i*137%1000)*time.Millisecond); err != nil {
			return out, err
		}
		excess := load.set(o.base * o.factor)
		r, err := answered(ctx, dir, excess, o.keep)
		load.set(o.base)
		if err != nil {
			return out, fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Printf("round %2d: %5.2f s to %s:", i+1, r.total.Seconds(), r.to)
		for _, name := range names {
			fmt.Printf("  %s %.2f", name, r.stages[name].Seconds())
		}
		fmt.Println()
		out = append(out, r)
	}
	return out, nil
}

var names = []string{"signal", "decision", "placement", "node", "start", "ready", "routed", "first answer"}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered waits for the first scale-up after a time to be on the timeline. It is recorded at the time at which the API
// server accepted it; the stages after the decision follow.
func answered(ctx context.Context, dir engine.Dir, since time.Time, within time.Duration) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		records, err := timeline.Load(dir.Timeline())
		if err != nil {
			return round{}, err
		}
		for _, r := range records {
			if r.Action != "scaled up" || r.Object.Name != storefront.Name || r.Time.Before(since) {
				continue
			}
			return roundOf(r, since)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return round{}, errors.New("no scale-up was recorded in time: `escale scale explain storefront -n shop` says where it stands")
		}
	}
}

func roundOf(r timeline.Record, since time.Time) (round, error) {
	out := round{stages: map[string]time.Duration{}, to: r.To}
	at := r.Time
	for i, s := range r.Stages {
		out.stages[s.Name] = s.Duration
		if i >= 2 {
			at = at.Add(s.Duration)
		}
	}
	out.total = at.Sub(since)
	if len(r.Stages) != len(names) {
		return out, fmt.Errorf("no new pod answered: %s", r.Reason)
	}
	return out, nil
}

func report(rounds []round, own time.Duration, load *load, o options) {
	if len(rounds) == 0 {
		return
	}
	var totals, starts []time.Duration
	for _, r := range rounds {
		totals = append(totals, r.total)
		starts = append(starts, r.stages["start"]+r.stages["ready"])
	}
	fmt.Printf("from the first excess request to the first answer of a new pod, %d rounds: median %.2f s, 95th percentile %.2f s, slowest %.2f s\n",
		len(rounds), platform.Percentile(totals, 50).Seconds(), platform.Percentile(totals, 95).Seconds(), platform.Percentile(totals, 100).Seconds())
	line := fmt.Sprintf("RESULT rounds=%d p50_s=%.2f p95_s=%.2f max_s=%.2f", len(rounds), platform.Percentile(totals, 50).Seconds(),
		platform.Percentile(totals, 95).Seconds(), platform.Percentile(totals, 100).Seconds())
	for _, name := range names {
		var d []time.Duration
		for _, r := range rounds {
			d = append(d, r.stages[name])
		}
		fmt.Printf("  %-12s median %7.3f s, 95th percentile %7.3f s\n", name, platform.Percentile(d, 50).Seconds(), platform.Percentile(d, 95).Seconds())
		key := name
		if name == "first answer" {
			key = "answer"
		}
		line += fmt.Sprintf(" %s_p50_ms=%d", key, platform.Percentile(d, 50).Milliseconds())
	}
	share := platform.Percentile(starts, 50).Seconds() / platform.Percentile(totals, 50).Seconds()
	fmt.Printf("the application's own start, start and ready together: median %.2f s, %.0f %% of the whole; by itself outside of the platform %.2f s\n",
		platform.Percentile(starts, 50).Seconds(), 100*share, own.Seconds())
	fmt.Printf("%d requests, %d failed\n", load.sent.Load(), load.failed.Load())
	fmt.Printf("%s app_start_p50_ms=%d app_start_share=%.2f own_start_ms=%d requests=%d failed=%d base_per_s=%d factor=%d\n",
		line, platform.Percentile(starts, 50).Milliseconds(), share, own.Milliseconds(), load.sent.Load(), load.failed.Load(), o.base, o.factor)
}

// load sends requests at a rate, whether earlier ones are answered or not.
type load struct {
	url          string
	client       *http.Client
	rate         chan rate
	end          context.CancelFunc
	done         sync.WaitGroup
	sent, failed atomic.Int64
}

// rate is a number of requests per second; the first request at it is sent at once, and told.
type rate struct {
	perSecond int
	first     chan time.Time
}

// mostAtOnce bounds the requests that wait for an answer.
const mostAtOnce = 2000

func newLoad(s engine.State, perSecond int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{
		url: s.GatewayURL + "/", rate: make(chan rate), end: cancel,
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
	}
	l.done.Go(func() { l.run(ctx, perSecond) })
	return l
}

func (l *load) run(ctx context.Context, perSecond int) {
	slots := make(chan struct{}, mostAtOnce)
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	send := func() {
		l.sent.Add(1)
		select {
		case slots <- struct{}{}:
		default:
			l.failed.Add(1)
			return
		}
		l.done.Go(func() {
			defer func() { <-slots }()
			if err := l.get(ctx); err != nil && ctx.Err() == nil {
				l.failed.Add(1)
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-l.rate:
			ticker.Reset(time.Second / time.Duration(r.perSecond))
			r.first <- time.Now()
			send()
		case <-ticker.C:
			send()
		}
	}
}

func (l *load) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return err
	}
	req.Host = "shop.localhost"
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// set changes the rate and returns when the first request at the new one was sent.
func (l *load) set(perSecond int) time.Time {
	r := rate{perSecond, make(chan time.Time, 1)}
	l.rate <- r
	return <-r.first
}

func (l *load) stop() {
	l.end()
	l.done.Wait()
}
