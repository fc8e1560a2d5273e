// Command queue measures how long a message waits for its first worker: from published to the decision (the Deployment
// asks for one replica) and to a pod that runs. Escale and KEDA's operator do it on the same engine, the same RabbitMQ
// and the same Redis, KEDA with its defaults and then with pollingInterval 1. Rounds begin at different times within
// the polling interval, so that no phase is favoured.
//
//	go run ./test/bench/queue [-rounds 10] [-default-rounds 6] [-keda=true]
//
// Both run with cooldownPeriod 1, which only brings the workload back to zero sooner between rounds. It needs root and
// the default network of the machine: no other platform may run on it. The last line is RESULT key=value ….
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/trigger/triggertest"
	"github.com/escale-dev/escale/test/bench/peer"
	"github.com/escale-dev/escale/test/bench/platform"
)

func main() {
	rounds := flag.Int("rounds", 10, "rounds of Escale and of KEDA with pollingInterval 1")
	slow := flag.Int("default-rounds", 6, "rounds of KEDA with its default polling interval of 30 s")
	keda := flag.Bool("keda", true, "run KEDA's operator too; it is built once, which takes many minutes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *slow, *keda); err != nil {
		fmt.Fprintln(os.Stderr, "queue:", err)
		os.Exit(1)
	}
}

// contender is one scaler with one setting.
type contender struct {
	name, namespace string
	rounds          int
	// polling is the interval set in the ScaledObject; 0 leaves the default. phase is the time over which rounds spread.
	polling int
	phase   time.Duration
	keda    bool
}

func contenders(rounds, slow int, keda bool) []contender {
	all := []contender{{name: "escale", namespace: "queue-escale", rounds: rounds, phase: time.Second}}
	if !keda {
		return all
	}
	return append(all,
		contender{name: "keda_poll1", namespace: "queue-keda-fast", rounds: rounds, polling: 1, phase: time.Second, keda: true},
		contender{name: "keda_default", namespace: "queue-keda", rounds: slow, phase: 30 * time.Second, keda: true})
}

func run(ctx context.Context, rounds, slow int, keda bool) error {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, 40*time.Minute)
	defer cancel()
	operator := ""
	if keda {
		if operator, err = peer.Build(ctx, peer.KEDA); err != nil {
			return err
		}
	}
	queues, end, err := startQueues(ctx, dir)
	if err != nil {
		return err
	}
	defer end()
	p, err := platform.Start(filepath.Join(dir, "platform"), "--private-network=false")
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop() }()
	if _, err := p.Wait(ctx, platform.Ready); err != nil {
		return err
	}
	b, err := newBench(p, queues)
	if err != nil {
		return err
	}
	fmt.Println("machine:", platform.Machine())
	all := contenders(rounds, slow, keda)
	if keda {
		stop, err := b.startKEDA(ctx, operator, filepath.Join(dir, "keda"), all)
		if err != nil {
			return err
		}
		defer stop()
	}
	results := map[string]outcome{}
	for _, c := range all {
		if err := b.contend(ctx, c, results); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	report(all, results)
	return nil
}

// startQueues runs the two servers.
func startQueues(ctx context.Context, dir string) (queues, func(), error) {
	var q queues
	var ends []func() error
	end := func() {
		for _, stop := range ends {
			_ = stop()
		}
	}
	for name, prepare := range map[string]triggertest.Maker{"rabbitmq": triggertest.RabbitMQ, "redis": triggertest.Redis()} {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o755); err != nil {
			return q, end, err
		}
		server, err := prepare(home)
		if err != nil {
			return q, end, err
		}
		ends = append(ends, server.Stop)
		if err := server.Start(ctx); err != nil {
			return q, end, err
		}
		if name == "redis" {
			q.redis = server.Address
		} else {
			q.rabbit = server.Address
		}
	}
	return q, end, nil
}

// outcome is what the rounds of one contender on one queue took.
type outcome struct{ decided, running []time.Duration }

func report(all []contender, results map[string]outcome) {
	line := "RESULT"
	for _, kind := range kinds {
		ours := results["escale "+kind]
		for _, c := range all {
			got := results[c.name+" "+kind]
			fmt.Printf("%-13s %-8s %2d rounds: decision %s, running %s\n", c.name, kind, len(got.decided), spread(got.decided), spread(got.running))
			key := c.name + "_" + kind
			line += fmt.Sprintf(" %s_decision_median_ms=%d %s_decision_max_ms=%d %s_running_median_ms=%d %s_running_max_ms=%d",
				key, at(got.decided, 50).Milliseconds(), key, at(got.decided, 100).Milliseconds(),
				key, at(got.running, 50).Milliseconds(), key, at(got.running, 100).Milliseconds())
			if c.keda && at(ours.decided, 50) > 0 {
				line += fmt.Sprintf(" %s_over_escale=%.1f", key, float64(at(got.decided, 50))/float64(at(ours.decided, 50)))
			}
		}
	}
	fmt.Println(line)
}

func spread(d []time.Duration) string {
	return strings.Join([]string{"min " + at(d, 0).String(), "median " + at(d, 50).String(), "max " + at(d, 100).String()}, ", ")
}

// at is a percentile by the nearest rank.
func at(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[max(0, (len(d)*percent+99)/100-1)].Round(time.Millisecond)
}
