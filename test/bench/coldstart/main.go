// Command coldstart measures the first request to an application that has no pod: how long until it is answered, beside
// how long the application takes to start by itself.
//
//	go run ./test/bench/coldstart [-rounds 10]
//
// It starts a platform with the example shop in a temporary data directory and a private network, lets the
// catalog (Python) go to zero after two seconds without requests, and sends one request each time it is there.
// The same program is started as often outside of the platform, on loopback, to its first answer. The last line is
// RESULT key=value ….
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/test/bench/platform"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var catalog = client.ObjectKey{Namespace: "shop", Name: "catalog"}

// path is the catalog's, at the gateway and by itself.
const path = "/api/catalog"

func main() {
	rounds := flag.Int("rounds", 10, "how often the first request is sent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int) error {
	dir, err := os.MkdirTemp("", "coldstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("machine:", platform.Machine())
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
	if err := platform.AwaitPods(ready, c, catalog, 2); err != nil {
		return err
	}
	if err := platform.Scale(ready, c, catalog, scaling); err != nil {
		return err
	}
	work(ctx, state)
	var first, own []time.Duration
	for i := range rounds {
		f, o, err := measure(ctx, c, state)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Printf("round %2d: first request answered in %.3f s, by itself it starts in %.3f s\n", i+1, f.Seconds(), o.Seconds())
		first, own = append(first, f), append(own, o)
	}
	showStages(p.Dir)
	report(first, own)
	return nil
}

// scaling takes the catalog to zero after two seconds without requests.
const scaling = `{"min": 0, "max": 5, "requestsInFlight": 10, "quietSeconds": 2}`

// work sends requests for a while: only an App that has had work goes to zero soon.
func work(ctx context.Context, s engine.State) {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				_ = get(ctx, s.GatewayURL+path, "shop.localhost") // it does not matter what it answers
			}
		})
	}
	all.Wait()
}

// measure waits for the catalog to be at zero, sends one request, and then starts the program outside.
func measure(ctx context.Context, c client.Client, s engine.State) (first, own time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute) // an App without any work since its release stays up for five
	defer cancel()
	if err := platform.AwaitPods(ctx, c, catalog, 0); err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(time.Second): // what the end of the last pod leaves to do
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	begun := time.Now()
	if err := get(ctx, s.GatewayURL+path, "shop.localhost"); err != nil {
		return 0, 0, err
	}
	first = time.Since(begun)
	own, err = platform.OwnStart(ctx, path, nil, "/usr/bin/python3", "-B", "examples/shop/catalog/catalog.py")
	return first, own, err
}

func get(ctx context.Context, url, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %.200s", url, resp.Status, body)
	}
	return nil
}

// showStages prints where the time went in the last round, as the platform's timeline has it.
func showStages(dir engine.Dir) {
	records, err := timeline.Load(dir.Timeline())
	if err != nil {
		fmt.Println("the timeline was not read:", err)
		return
	}
	for i := len(records) - 1; i >= 0; i-- {
		r := records[i]
		if r.Object.Name != catalog.Name || r.Action != "scaled up" {
			continue
		}
		fmt.Printf("stages of the last recorded round:")
		for _, s := range r.Stages {
			fmt.Printf("  %s %.3f", s.Name, s.Duration.Seconds())
		}
		fmt.Println()
		return
	}
}

func report(first, own []time.Duration) {
	over := make([]time.Duration, len(first))
	for i := range first {
		over[i] = first[i] - platform.Percentile(own, 50)
	}
	fmt.Printf("first answer: median %.3f s, 95th percentile %.3f s; own start: median %.3f s; more than that: median %.3f s, 95th percentile %.3f s\n",
		platform.Percentile(first, 50).Seconds(), platform.Percentile(first, 95).Seconds(), platform.Percentile(own, 50).Seconds(),
		platform.Percentile(over, 50).Seconds(), platform.Percentile(over, 95).Seconds())
	fmt.Printf("RESULT rounds=%d first_p50_ms=%d first_p95_ms=%d first_max_ms=%d own_p50_ms=%d own_p95_ms=%d over_p50_ms=%d over_p95_ms=%d over_max_ms=%d\n",
		len(first), platform.Percentile(first, 50).Milliseconds(), platform.Percentile(first, 95).Milliseconds(), platform.Percentile(first, 100).Milliseconds(),
		platform.Percentile(own, 50).Milliseconds(), platform.Percentile(own, 95).Milliseconds(),
		platform.Percentile(over, 50).Milliseconds(), platform.Percentile(over, 95).Milliseconds(), platform.Percentile(over, 100).Milliseconds())
}
