// Command footprint measures what a platform costs: the time from its start to ready nodes and to the first answer of
// the example shop, and the memory and CPU of everything Escale itself runs while the shop idles.
//
//	go run ./test/bench/footprint [-rounds 3] [-idle 60s] [-apps 50]
//
// It starts platforms in temporary data directories, one after the other, each with a private network, and removes
// them. The last line is RESULT key=value ….
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/test/bench/platform"
)

type round struct {
	nodes, shop   time.Duration
	rss, pss      int64
	idle          float64
	restart       time.Duration
	processes     int
	restartedApps int
}

func main() {
	rounds := flag.Int("rounds", 3, "platforms to start one after the other")
	idle := flag.Duration("idle", time.Minute, "how long CPU use is measured at idle")
	apps := flag.Int("apps", 50, "Apps that have to answer again after a restart")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *idle, *apps); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n int, idle time.Duration, apps int) error {
	fmt.Println("machine:", platform.Machine())
	var all []round
	for i := range n {
		last := i == n-1
		r, err := measure(ctx, idle, apps, last)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Printf("round %d: three nodes ready %.1f s, shop answers %.1f s, memory %d MB resident (%d MB without counting shared pages twice) in %d processes\n",
			i+1, r.nodes.Seconds(), r.shop.Seconds(), r.rss>>20, r.pss>>20, r.processes)
		all = append(all, r)
	}
	r := all[len(all)-1]
	fmt.Printf("idle for %s: %.1f %% of one core; restart with %d more Apps to all answering: %.1f s\n", idle, r.idle*100, r.restartedApps, r.restart.Seconds())
	fmt.Printf("RESULT nodes_ready_s=%.2f shop_answers_s=%.2f rss_mb=%d pss_mb=%d idle_core_percent=%.2f restart_apps=%d restart_s=%.2f rounds=%d\n",
		median(all, func(r round) time.Duration { return r.nodes }), median(all, func(r round) time.Duration { return r.shop }),
		r.rss>>20, r.pss>>20, r.idle*100, r.restartedApps, r.restart.Seconds(), n)
	return nil
}

func median(all []round, of func(round) time.Duration) float64 {
	var d []time.Duration
	for _, r := range all {
		d = append(d, of(r))
	}
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}

func measure(ctx context.Context, idle time.Duration, apps int, last bool) (r round, err error) {
	dir, err := os.MkdirTemp("", "footprint")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()

	begun := time.Now()
	p, err := platform.Start(dir, "examples/shop")
	if err != nil {
		return r, err
	}
	defer func() { _ = p.Stop() }()
	state, err := p.Wait(ctx, platform.Ready)
	if err != nil {
		return r, err
	}
	r.nodes = time.Since(begun)
	if err := answers(ctx, state, "shop.localhost"); err != nil {
		return r, err
	}
	r.shop = time.Since(begun)
	if !last {
		u, err := p.Usage()
		r.rss, r.pss, r.processes = u.RSS, u.PSS, u.Processes
		return r, err
	}
	if err := settle(ctx); err != nil {
		return r, err
	}
	before, err := p.Usage()
	if err != nil {
		return r, err
	}
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	after, err := p.Usage()
	if err != nil {
		return r, err
	}
	r.rss, r.pss, r.processes = after.RSS, after.PSS, after.Processes
	r.idle = (after.CPU - before.CPU).Seconds() / idle.Seconds()
	return r, restart(ctx, p, dir, apps, &r)
}

// settle lets the start's garbage and retries pass, so that what is measured is idle.
func settle(ctx context.Context) error {
	select {
	case <-time.After(30 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answers waits until the gateway answers for the host with success.
func answers(ctx context.Context, s engine.State, host string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.GatewayURL+"/", nil)
		if err != nil {
			return err
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %q: %w", host, errors.Join(ctx.Err(), err))
		}
	}
}

// restart deploys small Apps, stops the platform and measures how long a new start takes until all of them answer.
func restart(ctx context.Context, p *platform.Platform, dir string, apps int, r *round) error {
	file := dir + "/apps.yaml"
	var b strings.Builder
	for i := range apps {
		fmt.Fprintf(&b, "apiVersion: escale.dev/v1alpha1\nkind: App\nmetadata: {name: app-%d}\nspec:\n  command: [python3, -m, http.server, \"8000\", --directory, /usr/share]\n  port: 8000\n  resources: {cpu: 5m, memory: 16Mi, memoryLimit: 64Mi}\n  route: {host: app-%d.localhost}\n---\n", i, i)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return err
	}
	if err := p.Run(ctx, "deploy", file); err != nil {
		return err
	}
	if err := p.Stop(); err != nil {
		return err
	}
	begun := time.Now()
	again, err := platform.Start(dir)
	if err != nil {
		return err
	}
	*p = *again
	state, err := p.Wait(ctx, platform.Ready)
	if err != nil {
		return err
	}
	for i := range apps {
		if err := answers(ctx, state, fmt.Sprintf("app-%d.localhost", i)); err != nil {
			return err
		}
	}
	r.restart, r.restartedApps = time.Since(begun), apps
	return nil
}
