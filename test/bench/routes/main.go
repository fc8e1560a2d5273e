// Command routes measures how fast the gateway takes routes in, what they cost, and whether changing them costs a
// request: `escale gateway` alone, in a process of its own, beside a control plane without nodes.
//
//	make build && go run ./test/bench/routes [-one 100] [-attach 1000] [-many 5000] [-changes 20]
//
// A route is new when the API server has answered its creation, and served when a request for its host is answered 200;
// requests are sent one after the other. The last line is RESULT key=value ….
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/escale-dev/escale/test/bench/platform"
)

// sizes are how many routes each part has.
type sizes struct{ one, attach, many, changes int }

func main() {
	var n sizes
	flag.IntVar(&n.one, "one", 100, "routes to create one by one")
	flag.IntVar(&n.attach, "attach", 1000, "routes to create at once")
	flag.IntVar(&n.many, "many", 5000, "routes to serve in the end")
	flag.IntVar(&n.changes, "changes", 20, "changes of a route under load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, n); err != nil {
		fmt.Fprintln(os.Stderr, "routes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n sizes) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	b, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	fmt.Println("machine:", platform.Machine())
	// What the first routes cost once, such as the pages of the program that they need, is not what routes cost.
	if err := b.warm(ctx); err != nil {
		return err
	}
	empty, err := b.memory(ctx)
	if err != nil {
		return err
	}
	one, err := b.oneByOne(ctx, "one", n.one)
	if err != nil {
		return err
	}
	fmt.Printf("a new route, %d one by one: median %s, 95th percentile %s, slowest %s\n", n.one, at(one, 50), at(one, 95), at(one, 100))
	created, served, err := b.atOnce(ctx, "attach", n.attach)
	if err != nil {
		return err
	}
	fmt.Printf("%d routes at once: created in %.2f s, all served %.3f s after the last was\n", n.attach, created.Seconds(), served.Seconds())
	if _, _, err := b.atOnce(ctx, "many", n.many-n.attach-n.one); err != nil {
		return err
	}
	full, err := b.memory(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d routes: %.1f MB more in use after a collection, %.1f MB more resident\n", n.many, mb(full.live-empty.live), mb(full.resident-empty.resident))
	last, err := b.oneByOne(ctx, "last", n.one)
	if err != nil {
		return err
	}
	fmt.Printf("a new route beside %d: median %s, 95th percentile %s\n", n.many, at(last, 50), at(last, 95))
	sent, failed, err := b.changeUnderLoad(ctx, n.changes)
	if err != nil {
		return err
	}
	fmt.Printf("%d changes under load: %d requests, %d failed\n", n.changes, sent, failed)
	fmt.Printf("RESULT route_median_ms=%.1f route_p95_ms=%.1f route_max_ms=%.1f routes_one=%d attach=%d attach_created_s=%.2f attach_served_after_s=%.3f many=%d many_live_mb=%.1f many_resident_mb=%.1f many_route_median_ms=%.1f many_route_p95_ms=%.1f many_route_max_ms=%.1f changes=%d change_requests=%d change_failed=%d\n",
		ms(at(one, 50)), ms(at(one, 95)), ms(at(one, 100)), n.one, n.attach, created.Seconds(), served.Seconds(),
		n.many, mb(full.live-empty.live), mb(full.resident-empty.resident), ms(at(last, 50)), ms(at(last, 95)), ms(at(last, 100)), n.changes, sent, failed)
	if failed > 0 {
		return fmt.Errorf("%d requests failed", failed)
	}
	return nil
}

// at is a percentile of d, by the nearest rank.
func at(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[max(0, (len(d)*percent+99)/100-1)].Round(100 * time.Microsecond)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// client is one that keeps its connections.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}
}

// freePort is a port nothing listens at.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
