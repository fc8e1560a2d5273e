// Package platform starts and measures a platform for the bench programs, in a data directory and on ports of its own.
package platform

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Platform is a running `escale up`.
type Platform struct {
	Dir engine.Dir
	cmd *exec.Cmd
	err *bytes.Buffer
}

// Start starts `escale up` with these arguments and returns without waiting for it to be ready.
func Start(dir string, args ...string) (*Platform, error) {
	self, err := filepath.Abs("bin/escale")
	if err != nil {
		return nil, err
	}
	p := &Platform{Dir: engine.Dir(dir), err: &bytes.Buffer{}}
	all := append([]string{"up", "--data-dir", dir, "--private-network", "--api-port=0", "--gateway-port=0", "--portal-port=0", "--registry-port=0"}, args...)
	p.cmd = exec.Command(self, all...)
	p.cmd.Stderr = p.err
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w (run this program in the repository, after `make build`)", self, err)
	}
	return p, nil
}

// Wait returns the platform's state once ready accepts it.
func (p *Platform) Wait(ctx context.Context, ready func(engine.State) bool) (engine.State, error) {
	for {
		s, err := p.Dir.ReadState()
		if err == nil && s.State == "failed" {
			return s, fmt.Errorf("the platform failed: %s\n%s", s.Message, p.err)
		}
		if err == nil && s.StartedAt.After(time.Now().Add(-time.Hour)) && ready(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("waiting for the platform (%s, %s): %w\n%s", s.State, s.Message, ctx.Err(), p.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ready accepts a platform whose nodes are all ready.
func Ready(s engine.State) bool { return s.State == "ready" }

// Client is a client without rate limit.
func (p *Platform) Client() (*kubernetes.Clientset, *rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", p.Dir.Kubeconfig())
	if err != nil {
		return nil, nil, err
	}
	cfg.QPS, cfg.Burst = 5000, 10000
	cfg.ContentType, cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	c, err := kubernetes.NewForConfig(cfg)
	return c, cfg, err
}

// Stop ends the platform as Ctrl-C does.
func (p *Platform) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// Kill ends the platform with -9.
func (p *Platform) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = p.cmd.Wait()
	return nil
}

// Usage is what a set of processes uses.
type Usage struct {
	// RSS counts memory shared by several processes once for each; PSS divides it among them. Bytes.
	RSS, PSS int64
	// CPU time used since their start.
	CPU time.Duration
	// Processes is how many there are.
	Processes int
}

// Usage of the platform's own processes: the platform and its nodes, without the pods' programs.
func (p *Platform) Usage() (Usage, error) {
	var u Usage
	exe, err := filepath.Abs("bin/escale")
	if err != nil {
		return u, err
	}
	pids, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return u, err
	}
	for _, link := range pids {
		if target, err := os.Readlink(link); err != nil || target != exe {
			continue
		}
		dir := filepath.Dir(link)
		if !p.owns(dir) {
			continue
		}
		rss, pss := memory(dir)
		u.RSS, u.PSS, u.CPU = u.RSS+rss, u.PSS+pss, u.CPU+cpu(dir)
		u.Processes++
	}
	return u, nil
}

// owns says whether a process works for this platform: its command line names the data directory.
func (p *Platform) owns(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	return err == nil && bytes.Contains(b, []byte(string(p.Dir)))
}

func memory(proc string) (rss, pss int64) {
	f, err := os.Open(filepath.Join(proc, "smaps_rollup"))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "Rss:":
			rss = n << 10
		case "Pss:":
			pss = n << 10
		}
	}
	return rss, pss
}

// ticks is the unit of CPU time in /proc (USER_HZ), 100 a second on every Linux Go runs on.
const ticks = 100

func cpu(proc string) time.Duration {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0
	}
	// The program's name is in parentheses and may hold spaces; user and system time are fields 14 and 15.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks
}

// Machine describes where the figures were taken.
func Machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// Run runs a command of the program against this platform.
func (p *Platform) Run(ctx context.Context, args ...string) error {
	self, err := filepath.Abs("bin/escale")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append(args, "--data-dir", string(p.Dir))...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "KUBECONFIG=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("escale %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// ProcessUsage is what one process uses.
func ProcessUsage(pid int) Usage {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	rss, pss := memory(dir)
	return Usage{RSS: rss, PSS: pss, CPU: cpu(dir), Processes: 1}
}
