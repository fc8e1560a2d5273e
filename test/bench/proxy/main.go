// Command proxy measures proxies side by side: ours, HAProxy, nginx, Traefik and Caddy bring the same answers of 1 KiB
// from the same backend, each on one core of its own, with the load generator and the backend on another.
//
//	go run ./test/bench/proxy [-rounds 5] [-seconds 3] [-connections 32,256] [-peers haproxy,nginx,traefik,caddy] [-idle 10000]
//
// It needs haproxy, nginx and wrk, and two processors. Traefik and Caddy are built from their modules the first time,
// which takes minutes. All runs on loopback; rounds are interleaved, so that a disturbance hits all alike. What counts
// is the processor time a proxy needs for one request, because the other core may be the limit of the requests per
// second. The last line is RESULT key=value ….
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/test/bench/platform"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, each with every proxy once")
	flag.IntVar(&o.seconds, "seconds", 3, "length of one measurement")
	connections := flag.String("connections", "32,256", "numbers of connections to measure with")
	peers := flag.String("peers", "haproxy,nginx,traefik,caddy", "proxies to measure beside ours")
	flag.IntVar(&o.idle, "idle", 10000, "idle connections to keep open to ours at the end; 0 for none")
	flag.StringVar(&o.gateway, "gateway", "", "our gateway's program; built if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := o.read(*connections, *peers)
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds, seconds int
	idle            int
	connections     []int
	peers           []string
	gateway         string
}

func (o *options) read(connections, peers string) error {
	for field := range strings.SplitSeq(connections, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > 4096 {
			return fmt.Errorf("number of connections %q: want 1 to 4096", field)
		}
		o.connections = append(o.connections, n)
	}
	if peers != "" {
		o.peers = strings.Split(peers, ",")
	}
	if o.rounds < 1 || o.seconds < 1 || o.rounds*o.seconds > 600 {
		return fmt.Errorf("%d rounds of %d s: want at least 1 of each, and 600 s at most", o.rounds, o.seconds)
	}
	return nil
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "proxy-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &stage{dir: dir}
	defer s.stop()
	if err := s.start(ctx, o); err != nil {
		return err
	}
	fmt.Println("machine:", platform.Machine())
	result := []string{"RESULT", fmt.Sprintf("rounds=%d seconds=%d", o.rounds, o.seconds)}
	for _, n := range o.connections {
		all, err := s.measure(ctx, o, n)
		if err != nil {
			return err
		}
		result = append(result, report(s.proxies, all, n)...)
	}
	if o.idle > 0 {
		fields, err := s.idle(ctx, s.proxies[0], o.idle)
		if err != nil {
			return err
		}
		result = append(result, fields)
	}
	fmt.Println(strings.Join(result, " "))
	return nil
}

// measure runs the rounds with so many connections. The order changes from round to round.
func (s *stage) measure(ctx context.Context, o options, connections int) (map[string][]sample, error) {
	all := map[string][]sample{}
	for round := range o.rounds {
		for i := range s.proxies {
			p := s.proxies[(i+round)%len(s.proxies)]
			m, err := s.load(ctx, p, connections, time.Duration(o.seconds)*time.Second)
			if err != nil {
				return nil, fmt.Errorf("measuring %s with %d connections: %w", p.name, connections, err)
			}
			all[p.name] = append(all[p.name], m)
		}
	}
	return all, nil
}

// report prints a table and returns the fields of the result.
func report(proxies []*proxy, all map[string][]sample, connections int) []string {
	fmt.Printf("\n%d connections          requests/s   CPU µs/request (lowest to highest)   per core   p50 ms   p99 ms   failed\n", connections)
	ours := median(all[proxies[0].name], sample.cpuMicros)
	var fields []string
	for _, p := range proxies {
		m := all[p.name]
		cpu := median(m, sample.cpuMicros)
		low, high := bounds(m, sample.cpuMicros)
		rate, p99 := median(m, sample.perSecond), median(m, func(s sample) float64 { return s.p99 })
		failed := 0
		for _, s := range m {
			failed += s.failed
		}
		fmt.Printf("%-22s %11.0f %12.2f (%.2f to %.2f) %21.0f %10.2f %8.2f %8d\n",
			p.name, rate, cpu, low, high, 1e6/cpu, median(m, func(s sample) float64 { return s.p50 }), p99, failed)
		key := fmt.Sprintf("%s_%d", p.name, connections)
		fields = append(fields, fmt.Sprintf("%s_rps=%.0f %s_cpu_us=%.2f %s_p99_ms=%.2f %s_failed=%d", key, rate, key, cpu, key, p99, key, failed))
		if p != proxies[0] {
			fields = append(fields, fmt.Sprintf("escale_to_%s=%.2f", key, cpu/ours))
		}
	}
	return fields
}

func median(m []sample, of func(sample) float64) float64 {
	values := make([]float64, len(m))
	for i, s := range m {
		values[i] = of(s)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func bounds(m []sample, of func(sample) float64) (low, high float64) {
	low, high = of(m[0]), of(m[0])
	for _, s := range m {
		low, high = min(low, of(s)), max(high, of(s))
	}
	return low, high
}
