package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine"
)

// patience bounds waiting for what another process does.
const patience = 20 * time.Second

// TestMain lets the test binary stand in for a node process, and for a platform that is killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 5 && os.Args[1] == "node" && os.Getenv(realNode) != "":
		os.Exit(runRealNode(os.Args[4]))
	case len(os.Args) == 5 && os.Args[1] == "node" && os.Args[2] == "run":
		os.Exit(pretendNode(os.Args[4]))
	case len(os.Args) == 3 && os.Args[1] == "pretend-platform":
		os.Exit(pretendPlatform(engine.Dir(os.Args[2])))
	}
	os.Exit(m.Run())
}

// pretendNode does what the zone of its configuration says.
func pretendNode(config string) int {
	c, err := ReadConfig(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if c.Zone == "fails" {
		fmt.Fprintln(os.Stderr, "the address is in use")
		return 3
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "ready")
	<-stop
	return 0
}

// pretendPlatform supervises a node until it is killed.
func pretendPlatform(dir engine.Dir) int {
	s := NewSupervisor(SupervisorConfig{Executable: os.Args[0], Dir: dir, Event: func(_, event, reason string) {
		fmt.Println(event, reason)
	}})
	if err := s.Start(context.Background(), engine.NodeConfig{Name: "node-a"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := s.Run(context.Background()); err != nil {
		return 1
	}
	return 0
}

type event struct{ node, what, reason string }

func supervise(t *testing.T) (*Supervisor, <-chan event, func() error) {
	t.Helper()
	events := make(chan event, 100)
	s := NewSupervisor(SupervisorConfig{
		Executable: os.Args[0],
		Dir:        engine.Dir(t.TempDir()),
		Event:      func(node, what, reason string) { events <- event{node, what, reason} },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, events, stop
}

func next(t *testing.T, events <-chan event, what string) event {
	t.Helper()
	select {
	case e := <-events:
		if e.what != what {
			t.Fatalf("got %+v, want %s", e, what)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event %s", what)
		return event{}
	}
}

func TestSupervisorRestartsANode(t *testing.T) {
	s, events, _ := supervise(t)
	if err := s.Start(t.Context(), engine.NodeConfig{Name: "node-a", Zone: "fails"}); err != nil {
		t.Fatal(err)
	}
	for _, delay := range []string{"200ms", "400ms"} {
		next(t, events, EventStarted)
		e := next(t, events, EventExited)
		for _, want := range []string{"exit status 3", delay, "the address is in use"} {
			if !strings.Contains(e.reason, want) {
				t.Errorf("the reason is %q, want %q in it", e.reason, want)
			}
		}
	}
	next(t, events, EventStarted)
}

func TestSupervisorNoticesAKilledNode(t *testing.T) {
	s, events, _ := supervise(t)
	if err := s.Start(t.Context(), engine.NodeConfig{Name: "node-a"}); err != nil {
		t.Fatal(err)
	}
	next(t, events, EventStarted)
	if err := syscall.Kill(s.PID("node-a"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events, EventExited); !strings.Contains(e.reason, "killed") {
		t.Errorf("the reason is %q", e.reason)
	}
	next(t, events, EventStarted)
}

func TestSupervisorStops(t *testing.T) {
	s, events, stop := supervise(t)
	for _, name := range []string{"node-a", "node-b"} {
		if err := s.Start(t.Context(), engine.NodeConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
		next(t, events, EventStarted)
		listening(t, s, name)
	}
	if err := s.Start(t.Context(), engine.NodeConfig{Name: "node-a"}); err == nil {
		t.Error("a node was started twice")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if e := next(t, events, EventStopped); e.reason != "exit status 0" {
			t.Errorf("%s ended with %q, want a graceful end", e.node, e.reason)
		}
	}
	if pid := s.PID("node-a"); pid != 0 {
		t.Errorf("process %d is still there", pid)
	}
	if err := s.Start(t.Context(), engine.NodeConfig{Name: "node-c"}); err == nil {
		t.Error("a node was started after the end")
	}
	if saved, err := Saved(s.config.Dir); err != nil || len(saved) != 3 {
		t.Errorf("the nodes that exist are %v, %v", saved, err)
	}
}

// listening waits until the pretended node listens to signals, which it says in its log.
func listening(t *testing.T, s *Supervisor, name string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if lastLine(logPath(s.config.Dir.Node(name))) == "ready" {
			return
		}
	}
}

func TestSupervisorRemoves(t *testing.T) {
	s, events, _ := supervise(t)
	if err := s.Start(t.Context(), engine.NodeConfig{Name: "node-a"}); err != nil {
		t.Fatal(err)
	}
	next(t, events, EventStarted)
	listening(t, s, "node-a")
	if err := s.Remove("node-a"); err != nil {
		t.Fatal(err)
	}
	next(t, events, EventStopped)
	if saved, err := Saved(s.config.Dir); err != nil || len(saved) != 0 {
		t.Errorf("the removed node is among %v, %v", saved, err)
	}
	if err := s.Remove("node-a"); err == nil {
		t.Error("a node was removed twice")
	}
}

// TestNodeDiesWithThePlatform kills a platform and waits for its node.
func TestNodeDiesWithThePlatform(t *testing.T) {
	platform := exec.Command(os.Args[0], "pretend-platform", t.TempDir())
	out, err := platform.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, EventStarted+" process")))
	if err != nil {
		t.Fatal(err)
	}
	node, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(node) }()
	if err := platform.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := platform.Wait(); err == nil {
		t.Error("a killed platform ended well")
	}
	ended, err := unix.Poll([]unix.PollFd{{Fd: int32(node), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		ended, err = unix.Poll([]unix.PollFd{{Fd: int32(node), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	}
	if err != nil || ended != 1 {
		t.Errorf("the node outlived the platform: %d, %v", ended, err)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	f, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(s string) {
		t.Helper()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	if err := rotate(f, 100); err != nil {
		t.Fatal(err)
	}
	write(strings.Repeat("x", 100))
	if err := rotate(f, 100); err != nil {
		t.Fatal(err)
	}
	write("second\n")
	for file, want := range map[string]string{
		"node.log":     "second\n",
		"node.log.old": "first\n" + strings.Repeat("x", 100),
	} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v, want %q", file, got, err, want)
		}
	}
}

func TestLastLine(t *testing.T) {
	cases := []struct{ name, content, want string }{
		{"nothing", "", ""},
		{"one line", "one\n", "one"},
		{"without an end", "one\ntwo", "two"},
		{"empty lines at the end", "one\ntwo\n\n\n", "two"},
		{"a long line is cut", strings.Repeat("y", 1000), strings.Repeat("y", lineLimit)},
		{"a long log", strings.Repeat("line\n", 10000) + "last\n", "last"},
		{"half a rune", "caf\xc3", "caf"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := lastLine(path); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := lastLine(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("a log that is not there ends with %q", got)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"name": "node-a", "dir": "/x"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(path)
		if err == nil && (c.Name == "" || bytes.TrimSpace(content)[0] != '{') {
			t.Errorf("read %+v from %q", c, content)
		}
	})
}
