package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// idle opens connections to a proxy, uses each once, and measures what it costs to keep them.
func (s *stage) idle(ctx context.Context, p *proxy, connections int) (string, error) {
	before, err := residentMemory(p.process)
	if err != nil {
		return "", err
	}
	open := make([]net.Conn, 0, connections)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range connections {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			return "", fmt.Errorf("opening connection %d of %d: %w", len(open)+1, connections, err)
		}
		open = append(open, c)
		if err := useOnce(c); err != nil {
			return "", fmt.Errorf("using connection %d: %w", len(open), err)
		}
	}
	const quiet, length = 15 * time.Second, 10 * time.Second
	select { // for the connections to the backend to go, and the first timers to pass
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(quiet):
	}
	from, err := processorTime(p.process)
	if err != nil {
		return "", err
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(length):
	}
	to, err := processorTime(p.process)
	if err != nil {
		return "", err
	}
	after, err := residentMemory(p.process)
	if err != nil {
		return "", err
	}
	fmt.Printf("\n%d idle connections: %.1f MB more resident memory, %d ms of processor time in %s\n", connections, float64(after-before)/1e6, (to - from).Milliseconds(), length)
	return fmt.Sprintf("idle_connections=%d idle_mb=%.1f idle_cpu_ms_per_10s=%d", connections, float64(after-before)/1e6, (to - from).Milliseconds()), nil
}

// useOnce sends a request and reads the answer, which comes in one piece or a few.
func useOnce(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return err
	}
	var answer [4096]byte
	n := 0
	for !strings.HasSuffix(string(answer[:n]), "xxxxxxxx") || n < 1024+64 {
		m, err := c.Read(answer[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

// residentMemory is what a process has in memory, in bytes.
func residentMemory(process int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", process, err)
	}
	return kilobytes << 10, nil
}
