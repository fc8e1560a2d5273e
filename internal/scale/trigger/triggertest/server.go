// Package triggertest starts the servers that triggers read, for tests and benches: the real ones of the machine, each on
// free ports of the loopback with a data directory of its own, ended with its own process group. It touches no server
// that was there before.
package triggertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// ErrNotInstalled says that the machine lacks the server's program.
var ErrNotInstalled = errors.New("not installed")

// Server is a server that can be stopped and started again with the same address and data.
type Server struct {
	// Address is where clients connect; Admin is a second address where there is one.
	Address, Admin string

	commands []func() *exec.Cmd
	ready    func(context.Context) error
	running  []*exec.Cmd
	log      string
}

// Start runs the server and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	for _, command := range s.commands {
		cmd := command()
		cmd.SysProcAttr = withGroup(cmd.SysProcAttr)
		out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err != nil {
			return fmt.Errorf("opening the log: %w", err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		err = cmd.Start()
		out.Close()
		if err != nil {
			return errors.Join(fmt.Errorf("starting %q: %w", cmd.Path, err), s.Stop())
		}
		s.running = append(s.running, cmd)
	}
	if err := until(ctx, s.ready); err != nil {
		said, _ := os.ReadFile(s.log)
		return errors.Join(fmt.Errorf("waiting for %s: %w: %s", s.Address, err, tail(said)), s.Stop())
	}
	return nil
}

func withGroup(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Setpgid, attr.Pdeathsig = true, syscall.SIGKILL
	return attr
}

func tail(text []byte) []byte { return text[max(0, len(text)-2000):] }

// Stop kills the server at once, as a crash does, and waits until it is gone.
func (s *Server) Stop() error {
	for i := len(s.running) - 1; i >= 0; i-- {
		cmd := s.running[i]
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending %q: %w", cmd.Path, err)
		}
		_ = cmd.Wait()
	}
	s.running = nil
	return nil
}

// until asks again and again whether a server is ready.
func until(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := ready(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// listens is ready when an address accepts connections.
func listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
}

// freePort finds a port of the loopback that nobody uses.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	return ports, nil
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// program finds the first of several paths that is there.
func program(paths ...string) (string, error) {
	for _, path := range paths {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %w; run scripts/prerequisites test", filepath.Base(paths[0]), ErrNotInstalled)
}

// Maker prepares a server that keeps its data in a directory.
type Maker func(dir string) (*Server, error)

// Run starts a server for a test and ends it with the test, which is skipped when the program is not installed.
func Run(t testing.TB, prepare Maker) *Server {
	t.Helper()
	server, err := prepare(t.TempDir())
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return server
}

// run runs a program to its end.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %q: %w: %s", cmd.Path, err, tail(out))
	}
	return nil
}

// write makes a file that every user may read.
func write(path, content string) error { return os.WriteFile(path, []byte(content), 0o644) }
