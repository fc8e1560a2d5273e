package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sample is one measurement of one proxy.
type sample struct {
	requests int
	failed   int
	took     time.Duration
	cpu      time.Duration
	p50, p99 float64 // milliseconds
}

func (s sample) perSecond() float64 { return float64(s.requests) / s.took.Seconds() }

func (s sample) cpuMicros() float64 {
	return float64(s.cpu.Microseconds()) / float64(max(s.requests, 1))
}

// load measures a proxy, after a short time to make its connections.
func (s *stage) load(ctx context.Context, p *proxy, connections int, length time.Duration) (sample, error) {
	if _, err := s.generate(ctx, p, connections, time.Second); err != nil {
		return sample{}, err
	}
	before, err := processorTime(p.process)
	if err != nil {
		return sample{}, err
	}
	out, err := s.generate(ctx, p, connections, length)
	if err != nil {
		return sample{}, err
	}
	after, err := processorTime(p.process)
	if err != nil {
		return sample{}, err
	}
	m, err := readLoad(out)
	m.cpu = after - before
	return m, err
}

func (s *stage) generate(ctx context.Context, p *proxy, connections int, length time.Duration) (string, error) {
	cmd := exec.CommandContext(ctx, "taskset", "-c", loadCore, s.wrk, "--latency", "-t1",
		"-c"+strconv.Itoa(connections), fmt.Sprintf("-d%ds", int(length.Seconds())), "http://"+p.address+"/")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return string(out), nil
}

var (
	totalLine   = regexp.MustCompile(`(\d+) requests in ([\d.]+)(us|ms|s|m),`)
	medianLine  = regexp.MustCompile(`50%\s+([\d.]+)(us|ms|s|m)`)
	p99Line     = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s|m)`)
	statusLine  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	socketsLine = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// readLoad reads what wrk prints.
func readLoad(out string) (sample, error) {
	total, p50, p99 := totalLine.FindStringSubmatch(out), medianLine.FindStringSubmatch(out), p99Line.FindStringSubmatch(out)
	if total == nil || p50 == nil || p99 == nil {
		return sample{}, fmt.Errorf("wrk printed something else than expected:\n%s", out)
	}
	requests, err := strconv.Atoi(total[1])
	if err != nil {
		return sample{}, err
	}
	m := sample{requests: requests, took: length(total[2], total[3])}
	m.p50, m.p99 = 1e3*length(p50[1], p50[2]).Seconds(), 1e3*length(p99[1], p99[2]).Seconds()
	for _, line := range []*regexp.Regexp{statusLine, socketsLine} {
		found := line.FindStringSubmatch(out)
		for i := 1; i < len(found); i++ {
			n, _ := strconv.Atoi(found[i]) // the expression leaves only digits
			m.failed += n
		}
	}
	return m, nil
}

// length reads a duration as wrk writes it.
func length(number, unit string) time.Duration {
	n, _ := strconv.ParseFloat(number, 64) // the expression leaves only numbers
	per := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute}
	return time.Duration(n * float64(per[unit]))
}

// ticksPerSecond is the unit of the times in /proc, USER_HZ, which is 100 on every architecture Go runs on.
const ticksPerSecond = 100

// processorTime is what a process has used so far, user and system.
func processorTime(process int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: unexpected form of its stat file", process)
	}
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
