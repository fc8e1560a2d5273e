package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxOutput is how much of what a build printed its error repeats: the end, where the reason is.
const maxOutput = 16 << 10

// compile builds the Go program in folder without anything that differs between two machines or two days.
func compile(ctx context.Context, folder, program string) error {
	args := []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "."}
	err := run(ctx, folder, []string{"CGO_ENABLED=0", "GOOS=linux"}, args)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("the source is a Go program and there is no go command: install Go, or set source.build to the command that builds it: %w", err)
	}
	return err
}

// programFile is where the Go program of a folder is built: the same place each time, because go links nothing anew
// where the result is there already. Nobody else builds or reads it until unlock is called. Where there is no folder for
// caches, it is below tmp.
func programFile(folder, tmp string) (program string, unlock func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(tmp, "app"), func() {}, nil
	}
	dir := filepath.Join(cache, "escale", "build", fmt.Sprintf("%x", sha256.Sum256([]byte(folder)))[:32])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("making the build cache: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("locking the build cache: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("locking the build cache: %w", err)
	}
	return filepath.Join(dir, "app"), func() { lock.Close() }, nil
}

// run runs a build command in folder. When it fails, the error holds what it printed. When ctx ends, the command and
// all it started are killed.
func run(ctx context.Context, folder string, env, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A build that leaves a process behind holds its output open.
	cmd.WaitDelay = time.Second
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", strings.Join(args[:min(2, len(args))], " "), context.Cause(ctx))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args[:min(2, len(args))], " "), err, out.String())
	}
	if err != nil {
		return fmt.Errorf("running %q in %q: %w", args[0], folder, err)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	buf     bytes.Buffer
	dropped bool
}

func (t *tail) Write(b []byte) (int, error) {
	t.buf.Write(b)
	if extra := t.buf.Len() - maxOutput; extra > 0 {
		t.buf.Next(extra)
		t.dropped = true
	}
	return len(b), nil
}

func (t *tail) String() string {
	s := strings.TrimRight(t.buf.String(), "\n")
	if !t.dropped {
		return s
	}
	// The first line is cut somewhere.
	if _, rest, ok := strings.Cut(s, "\n"); ok {
		s = rest
	}
	return "…\n" + s
}
