// Command scaleup measures how long a peak waits: the load on the example shop's storefront rises fivefold within a
// second, and the time counts from the first excess request to the first answer of a new pod.
//
//	go run ./test/bench/scaleup [-rounds 20] [-base 28] [-factor 5]
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
	flag.IntVar(&o.base, "base", 28, "requests per second before the rise")
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
	// total is from the first excess request to the first answer of a new pod, as the client and the timeline have it.
	total   time.Duration
	scaleup platform.Scaleup
}

func run(ctx context.Context, o options) (err error) {
	fmt.Println("machine:", platform.Machine())
	own, err := ownStart(ctx)
	if err != nil {
		return err
	}
	shop, err := platform.StartShop(ctx, storefront, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.Stop()) }()
	if err := platform.Scale(ctx, shop.Objects, storefront, scaling); err != nil {
		return err
	}
	load := newLoad(shop.State, o.base)
	defer load.stop()
	rounds, err := rise(ctx, shop, load, o)
	report(rounds, own, load, o)
	return err
}

// scaling is by requests per second; pods go as soon as the long window of the demand allows, so that rounds are short.
const scaling = `{"min": 2, "max": 12, "requestsPerSecond": 15, "requestsInFlight": null, "quietSeconds": 5}`

// ownStart is how long the storefront takes to its first answer outside of the platform, at the median of five.
func ownStart(ctx context.Context) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "scaleup")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
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
func rise(ctx context.Context, shop *platform.Shop, load *load, o options) ([]round, error) {
	var out []round
	for i := range o.rounds {
		quiet, cancel := context.WithTimeout(ctx, 4*time.Minute)
		err := platform.AwaitPods(quiet, shop.Objects, storefront, 2)
		cancel()
		if err != nil {
			return out, fmt.Errorf("before round %d: %w", i+1, err)
		}
		// A phase of its own, so that rounds do not fall on the same part of the second.
		if err := platform.Pause(ctx, 3*time.Second+time.Duration(i*137%1000)*time.Millisecond); err != nil {
			return out, err
		}
		excess := load.set(o.base * o.factor)
		answered, cancel := context.WithTimeout(ctx, o.keep)
		s, err := platform.AwaitScaleup(answered, shop.Dir, storefront.Name, excess)
		cancel()
		load.set(o.base)
		if err != nil {
			return out, fmt.Errorf("round %d: %w", i+1, err)
		}
		r := round{s.End.Sub(excess), s}
		fmt.Printf("round %2d: %5.2f s to %s:  %s\n", i+1, r.total.Seconds(), s.To, s)
		out = append(out, r)
	}
	return out, nil
}

func report(rounds []round, own time.Duration, load *load, o options) {
	if len(rounds) == 0 {
		return
	}
	var totals []time.Duration
	var scaleups []platform.Scaleup
	steps := map[string]int{}
	for _, r := range rounds {
		totals, scaleups = append(totals, r.total), append(scaleups, r.scaleup)
		steps[r.scaleup.To]++
	}
	p50, p95, slowest := platform.Percentile(totals, 50), platform.Percentile(totals, 95), platform.Percentile(totals, 100)
	fmt.Printf("from the first excess request to the first answer of a new pod, %d rounds: median %.2f s, 95th percentile %.2f s, slowest %.2f s\n",
		len(rounds), p50.Seconds(), p95.Seconds(), slowest.Seconds())
	stages := platform.PrintStages(scaleups)
	ownStart := platform.PrintOwnStart(scaleups, p50, own)
	fmt.Printf("first steps: %v; %d requests, %d failed\n", steps, load.sent.Load(), load.failed.Load())
	fmt.Printf("RESULT rounds=%d p50_ms=%d p95_ms=%d max_ms=%d%s%s requests=%d failed=%d base_per_s=%d factor=%d\n",
		len(rounds), p50.Milliseconds(), p95.Milliseconds(), slowest.Milliseconds(), ownStart, stages,
		load.sent.Load(), load.failed.Load(), o.base, o.factor)
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
