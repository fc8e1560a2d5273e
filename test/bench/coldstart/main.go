// Command coldstart measures the first request to an application that has no pod: how long until it is answered, beside
// how long the application takes to start by itself.
//
//	go run ./test/bench/coldstart [-rounds 10]
//
// It starts a platform with the example shop in a temporary data directory and a private network, lets the
// catalog (Python) go to zero after two seconds without requests, and sends one request each time it is there.
// The same program is started as often outside of the platform, on loopback, to its first answer. The stages are those of
// the platform's own timeline; their sum is held against what the client measured. The last line is RESULT key=value ….
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
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/engine"
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

// round is one start from zero.
type round struct {
	// first is how long the client waited, own how long the program takes by itself.
	first, own time.Duration
	scaleup    platform.Scaleup
}

func run(ctx context.Context, rounds int) (err error) {
	fmt.Println("machine:", platform.Machine())
	shop, err := platform.StartShop(ctx, catalog, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.Stop()) }()
	if err := platform.Scale(ctx, shop.Objects, catalog, scaling); err != nil {
		return err
	}
	work(ctx, shop.State)
	var all []round
	for i := range rounds {
		r, err := measure(ctx, shop, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Printf("round %2d: first request answered in %.3f s, the waterfall says %.3f s, by itself it starts in %.3f s:  %s\n",
			i+1, r.first.Seconds(), r.scaleup.Total.Seconds(), r.own.Seconds(), r.scaleup)
		all = append(all, r)
	}
	report(all)
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
func measure(ctx context.Context, shop *platform.Shop, i int) (r round, err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute) // an App without any work since its release stays up for five
	defer cancel()
	if err := platform.AwaitPods(ctx, shop.Objects, catalog, 0); err != nil {
		return r, err
	}
	// What the end of the last pod leaves to do, and a phase of its own, so that rounds do not fall on the same part of
	// the second.
	if err := platform.Pause(ctx, time.Second+time.Duration(i*137%1000)*time.Millisecond); err != nil {
		return r, err
	}
	begun := time.Now()
	if err := get(ctx, shop.State.GatewayURL+path, "shop.localhost"); err != nil {
		return r, err
	}
	r.first = time.Since(begun)
	recorded, cancelRecorded := context.WithTimeout(ctx, 20*time.Second)
	defer cancelRecorded()
	if r.scaleup, err = platform.AwaitScaleup(recorded, shop.Dir, catalog.Name, begun); err != nil {
		return r, err
	}
	r.own, err = platform.OwnStart(ctx, path, nil, "/usr/bin/python3", "-B", "examples/shop/catalog/catalog.py")
	return r, err
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

func report(all []round) {
	var first, own, over, off []time.Duration
	var scaleups []platform.Scaleup
	for _, r := range all {
		first, own, scaleups = append(first, r.first), append(own, r.own), append(scaleups, r.scaleup)
		off = append(off, (r.scaleup.Total - r.first).Abs())
	}
	start := platform.Percentile(own, 50)
	for _, f := range first {
		over = append(over, f-start)
	}
	p := func(d []time.Duration, percent int) time.Duration { return platform.Percentile(d, percent) }
	fmt.Printf("first answer: median %.3f s, 95th percentile %.3f s; more than the application's own start: median %.3f s, 95th percentile %.3f s\n",
		p(first, 50).Seconds(), p(first, 95).Seconds(), p(over, 50).Seconds(), p(over, 95).Seconds())
	stages := platform.PrintStages(scaleups)
	ownStart := platform.PrintOwnStart(scaleups, p(first, 50), start)
	fmt.Printf("the waterfall and the client differ by %.3f s at the median, %.3f s at most\n", p(off, 50).Seconds(), p(off, 100).Seconds())
	fmt.Printf("RESULT rounds=%d first_p50_ms=%d first_p95_ms=%d first_max_ms=%d over_p50_ms=%d over_p95_ms=%d over_max_ms=%d off_p50_ms=%d off_max_ms=%d own_p95_ms=%d%s%s\n",
		len(all), p(first, 50).Milliseconds(), p(first, 95).Milliseconds(), p(first, 100).Milliseconds(),
		p(over, 50).Milliseconds(), p(over, 95).Milliseconds(), p(over, 100).Milliseconds(),
		p(off, 50).Milliseconds(), p(off, 100).Milliseconds(), p(own, 95).Milliseconds(), ownStart, stages)
}
