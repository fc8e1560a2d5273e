// Command replay measures how long it takes to replay a day of signals, one value a second: of one workload from a table
// and from a recording, and of many workloads from a recording, each with the present settings and, apart, with another
// set of settings beside them.
//
//	go run ./test/bench/replay [-workloads 1000] [-hours 24]
//
// The demand is made up: two peaks a day, noise of every second and a fivefold spike each hour and a half. Requests in
// flight, their rate, CPU and memory each have a noise of their own, and latencies are spread over a dozen buckets, so that
// a recording is as large as one of busy workloads. The last line is RESULT key=value ….
package main

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/escale-dev/escale/internal/scale/replay"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/test/bench/platform"
)

func main() {
	workloads := flag.Int("workloads", 1000, "workloads in the large recording")
	hours := flag.Int("hours", 24, "hours of one-second signals")
	rounds := flag.Int("rounds", 3, "how often each replay is measured; the median counts")
	flag.Parse()
	if err := run(*workloads, *hours, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

var begin = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func run(workloads, hours, rounds int) error {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	length := hours * 3600
	fmt.Println("machine:", platform.Machine())
	table, one, many := filepath.Join(dir, "one.csv"), filepath.Join(dir, "one.signals"), filepath.Join(dir, "many.signals")
	if err := writeTable(table, length); err != nil {
		return err
	}
	if err := writeRecording(one, 1, length); err != nil {
		return err
	}
	begun := time.Now()
	if err := writeRecording(many, workloads, length); err != nil {
		return err
	}
	info, err := os.Stat(many)
	if err != nil {
		return err
	}
	facts := workloads * length
	perFact := float64(info.Size()) / float64(facts)
	fmt.Printf("recorded %d facts in %.1f s, %.2f bytes each\n", facts, time.Since(begun).Seconds(), perFact)
	present := replay.Default(replay.InFlight, 10)
	other, err := present.With("target=20,max=50")
	if err != nil {
		return err
	}
	ms := map[string]float64{}
	for _, m := range []struct {
		name, path string
		settings   []replay.Settings
	}{
		{"one_csv", table, []replay.Settings{present}},
		{"one", one, []replay.Settings{present}},
		{"many", many, []replay.Settings{present}},
		{"many_two_settings", many, []replay.Settings{present, other}},
	} {
		took, err := measure(m.path, m.settings, length, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		ms[m.name] = took
		fmt.Printf("%-18s %10.0f ms\n", m.name, took)
	}
	fmt.Printf("RESULT workloads=%d hours=%d facts=%d one_csv_ms=%.0f one_ms=%.0f many_s=%.2f many_two_settings_s=%.2f ns_per_fact=%.0f bytes_per_fact=%.2f recording_mb=%.0f rounds=%d\n",
		workloads, hours, facts, ms["one_csv"], ms["one"], ms["many"]/1000, ms["many_two_settings"]/1000, ms["many"]*1e6/float64(facts), perFact, float64(info.Size())/(1<<20), rounds)
	return nil
}

// measure is the median time of a replay, in milliseconds.
func measure(path string, settings []replay.Settings, length, rounds int) (float64, error) {
	var took []float64
	for range rounds {
		begun := time.Now()
		recording, err := replay.Open(path)
		if err != nil {
			return 0, err
		}
		results, err := replay.Run(recording, func(signal.Workload) []replay.Settings { return settings })
		if err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
		for _, r := range results {
			if r.Facts != length || r.Outcomes[0].ScaleUps == 0 {
				return 0, fmt.Errorf("%s: %d of %d facts, %d scale-ups", r.Workload, r.Facts, length, r.Outcomes[0].ScaleUps)
			}
		}
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// demand is that of a workload at a second.
func demand(workload, second int) float64 {
	day := float64(second) / 86400 * 2 * math.Pi
	base := 40 - 25*math.Cos(day) - 12*math.Cos(2*day+float64(workload%7))
	if (second+workload*997)%5400 < 120 {
		base *= 5
	}
	return math.Max(0, math.Round(base)+math.Floor(9*noise(workload, second, 0)))
}

// noise is from 0 to 1, different for each value of each second.
func noise(workload, second, value int) float64 {
	n := uint64(second)<<32 | uint64(workload)<<8 | uint64(value)
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return float64((n^n>>31)>>11) / (1 << 53)
}

// observe makes the facts those of a workload at a second that was a little longer than one.
func observe(f *signal.Facts, workload, second int) {
	elapsed := 1 + noise(0, second, 1)/1000
	f.InFlight = demand(workload, second)
	requests := math.Round(f.InFlight * (7 + 2*noise(workload, second, 2)))
	f.Rate = requests / elapsed
	f.ErrorRate = 0
	if noise(workload, second, 3) < .01 {
		f.ErrorRate = 1 / elapsed
	}
	f.CPU = f.InFlight / 40 * (.95 + noise(workload, second, 4)/10)
	f.Memory = 300<<20 + math.Floor(16*noise(workload, second/20, 5))*65536
	f.Latency = signal.Histogram{Sum: requests / 50}
	for bucket := range 12 {
		f.Latency.Buckets[6+bucket] = uint64(requests / 12 * (.5 + noise(workload, second, 6+bucket)))
	}
}

func writeTable(path string, length int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "time,in-flight,pods")
	for second := range length {
		fmt.Fprintf(w, "%s,%g,2\n", begin.Add(time.Duration(second)*time.Second).Format(time.RFC3339), demand(0, second))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func writeRecording(path string, workloads, length int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := signal.NewWriter(f)
	facts := signal.Facts{Desired: 4, Pods: 4, Ready: 4, CPUReserved: 2, MemoryReserved: 1 << 30}
	names := make([]signal.Workload, workloads)
	for i := range names {
		names[i] = signal.Workload{Kind: "Deployment", Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("app-%d", i)}
	}
	for second := range length {
		facts.At = begin.Add(time.Duration(second) * time.Second)
		facts.TrafficAt, facts.UsageAt = facts.At, facts.At
		for i := range names {
			observe(&facts, i, second)
			if err := w.Add(names[i], &facts); err != nil {
				return err
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
