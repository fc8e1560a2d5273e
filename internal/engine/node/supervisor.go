package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd"
)

// What a Supervisor reports of a node.
const (
	// EventStarted says that the node's process runs.
	EventStarted = "Started"
	// EventExited says that it ended unasked; the reason tells how, and when it is started again.
	EventExited = "Exited"
	// EventStopped says that it ended because it was told to.
	EventStopped = "Stopped"
)

const (
	// firstDelay is the pause before a node that ended is started again; it doubles up to lastDelay.
	firstDelay = 200 * time.Millisecond
	lastDelay  = 10 * time.Second
	// steady is how long a node must have run for its next pause to be the first again.
	steady = time.Minute
	// killAfter is how long a node has to stop before it is killed.
	killAfter = 10 * time.Second
)

// SupervisorConfig says how nodes are started.
type SupervisorConfig struct {
	// Executable is this program; it is started as `escale node run --config FILE`.
	Executable string
	// Dir holds the nodes' folders.
	Dir engine.Dir
	// Log is for what nobody asked for. Nil: slog's default.
	Log *slog.Logger
	// Event is told what happened to a node, if not nil. It may be called from several goroutines.
	Event func(node, event, reason string)
}

// Supervisor keeps node processes running. They die with this process, even when it is killed.
type Supervisor struct {
	config SupervisorConfig
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	nodes map[string]*child
}

type child struct {
	config engine.NodeConfig
	stop   context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	pid int
}

// NewSupervisor starts nothing yet.
func NewSupervisor(config SupervisorConfig) *Supervisor {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Supervisor{config: config, ctx: ctx, cancel: cancel, nodes: map[string]*child{}}
}

// Start writes the node's configuration into its folder, which makes it exist, and keeps its process running until
// Remove or the end of Run. It does not wait for the node to be ready.
func (s *Supervisor) Start(ctx context.Context, c engine.NodeConfig) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("starting node %q: %w", c.Name, err)
	}
	c.Dir = s.config.Dir.Node(c.Name)
	if err := writeConfig(c.Dir, c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return fmt.Errorf("starting node %q: the platform is stopping", c.Name)
	}
	if s.nodes[c.Name] != nil {
		return fmt.Errorf("node %q runs already", c.Name)
	}
	life, stop := context.WithCancel(s.ctx)
	n := &child{config: c, stop: stop, done: make(chan struct{})}
	s.nodes[c.Name] = n
	go s.keep(life, n)
	return nil
}

// Remove stops a node and deletes its folder. Its Node object is the caller's.
func (s *Supervisor) Remove(name string) error {
	s.mu.Lock()
	n := s.nodes[name]
	delete(s.nodes, name)
	s.mu.Unlock()
	if n == nil {
		return fmt.Errorf("no node %q runs here", name)
	}
	n.stop()
	<-n.done
	dir := s.config.Dir.Node(name)
	if err := errors.Join(unmountBelow(dir), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("removing node %q: %w", name, err)
	}
	return nil
}

// PID is the process of a node, 0 while none runs.
func (s *Supervisor) PID(name string) int {
	s.mu.Lock()
	n := s.nodes[name]
	s.mu.Unlock()
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pid
}

// Run waits for ctx to end, then stops all nodes at once and waits for them.
func (s *Supervisor) Run(ctx context.Context) error {
	<-ctx.Done()
	s.cancel()
	s.mu.Lock()
	nodes := s.nodes
	s.nodes = map[string]*child{}
	s.mu.Unlock()
	serves := false
	for _, n := range nodes {
		<-n.done
		serves = serves || n.config.ContainerdSocket != ""
	}
	if !serves {
		return nil
	}
	return containerd.RemoveCNI(containerd.CNIDir)
}

// keep starts the node's process again and again until ctx ends.
func (s *Supervisor) keep(ctx context.Context, n *child) {
	defer close(n.done)
	var delay time.Duration
	for {
		start := time.Now()
		end := s.once(ctx, n)
		if ctx.Err() != nil {
			s.report(n, EventStopped, end)
			return
		}
		delay = nextDelay(delay, time.Since(start))
		reason := fmt.Sprintf("%s; starting again in %s", end, delay)
		if line := lastLine(logPath(n.config.Dir)); line != "" {
			reason += "; its log ends with: " + line
		}
		s.report(n, EventExited, reason)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			s.report(n, EventStopped, "while waiting to be started again")
			return
		}
	}
}

// nextDelay is the pause after a node that ran for that long, given the pause before it.
func nextDelay(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= steady {
		return firstDelay
	}
	return min(2*last, lastDelay)
}

// once runs the node's process to its end and says how it ended. The thread that starts it must live as long: the kernel kills the child when
// the thread that made it ends, not when the process does.
func (s *Supervisor) once(ctx context.Context, n *child) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	log, err := openLog(n.config.Dir)
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, s.config.Executable, "node", "run", "--config", filepath.Join(n.config.Dir, configFile))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(n.config)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	if err := cmd.Start(); err != nil {
		return fmt.Sprintf("starting the process: %v", err)
	}
	n.setPID(cmd.Process.Pid)
	defer n.setPID(0)
	s.report(n, EventStarted, fmt.Sprintf("process %d", cmd.Process.Pid))
	trimmed := make(chan struct{})
	life, over := context.WithCancel(ctx)
	go func() {
		defer close(trimmed)
		trimLog(life, log, s.config.Log)
	}()
	err = cmd.Wait()
	over()
	<-trimmed
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}

func (n *child) setPID(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pid = pid
}

// attributes make the node die with the thread that starts it, keep the terminal's Ctrl-C from it, and give it mounts
// of its own unless containerd must see them.
func attributes(c engine.NodeConfig) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() == 0 && (c.ContainerdSocket == "" || !exists(c.ContainerdSocket)) {
		a.Unshareflags = syscall.CLONE_NEWNS
	}
	return a
}

func (s *Supervisor) report(n *child, event, reason string) {
	s.config.Log.Debug("node", "node", n.config.Name, "event", event, "reason", reason)
	if s.config.Event != nil {
		s.config.Event(n.config.Name, event, reason)
	}
}
