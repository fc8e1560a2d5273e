package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/enginetest"
)

// startLimit is how long a platform may take to be ready, on a machine that does other things too.
const startLimit = 3 * time.Minute

// binary is the program under test: the one ESCALE_BINARY names, or one built from this source.
func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ESCALE_BINARY"); path != "" {
		return path
	}
	path, err := enginetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startPlatform starts a platform on the network of this process and waits until its nodes are ready. It ends with the
// test.
func startPlatform(t *testing.T) engine.State {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "platform")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(binary(t), "up", "--data-dir", dir, "--containerd-socket", filepath.Join(dir, "no-containerd"),
		"--api-port=0", "--gateway-port=0", "--portal-port=0", "--registry-port=0")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := make(chan error, 1)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the platform dies with the thread that started it
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting the platform: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-ended
		keepLog(t, dir)
	})
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	state, err := waitReady(ctx, engine.Dir(dir), ended)
	if err != nil {
		t.Fatalf("%v\n%s", err, output.String())
	}
	return state
}

func waitReady(ctx context.Context, dir engine.Dir, ended chan error) (engine.State, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := dir.ReadState()
		if err == nil && s.State == "ready" {
			return s, nil
		}
		select {
		case err := <-ended:
			ended <- err
			return s, fmt.Errorf("the platform ended: %w", err)
		case <-ctx.Done():
			return s, fmt.Errorf("waiting for the platform (%s, %s): %w", s.State, s.Message, ctx.Err())
		case <-tick.C:
		}
	}
}

// keepLog saves the platform's log beside the report, because the data directory is removed.
func keepLog(t *testing.T, dir string) {
	report := os.Getenv(reportVariable)
	if report == "" {
		return
	}
	content, err := os.ReadFile(filepath.Join(dir, "platform.log"))
	if err == nil {
		err = os.WriteFile(report+".log", content, 0o600)
	}
	if err != nil {
		t.Logf("the platform's log was not kept: %v", err)
	}
}
