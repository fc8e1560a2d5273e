package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine/enginetest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// rounds of kill -9. Each takes a start of the control plane.
const rounds = 20

// Everything the API server acknowledged is there after a kill in the middle of writes, twenty times in a row on the
// same data directory.
func TestKilledWhileWritingLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane twenty times")
	}
	binary, err := enginetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	acknowledged := map[string]string{}
	for round := range rounds {
		server, c := startControlPlane(t, binary, dir)
		checkAcknowledged(t, c, acknowledged)
		if t.Failed() {
			t.Fatalf("after %d kills", round)
		}
		writeUntilKilled(t, server, c, round, acknowledged)
	}
	server, c := startControlPlane(t, binary, dir)
	checkAcknowledged(t, c, acknowledged)
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("stopping in peace: %v", err)
	}
	t.Logf("%d acknowledged writes survived %d kills", len(acknowledged), rounds)
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "escale-e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func startControlPlane(t *testing.T, binary, dir string) (*exec.Cmd, kubernetes.Interface) {
	t.Helper()
	cmd := exec.Command(binary, "controlplane", "--data-dir", dir, "--api-port", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("waiting for the control plane: %v", err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 1000, 1000
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, c
}

// writeUntilKilled writes objects one after the other, kills the server when some are acknowledged and more are on
// their way, and remembers what was acknowledged.
func writeUntilKilled(t *testing.T, server *exec.Cmd, c kubernetes.Interface, round int, acknowledged map[string]string) {
	t.Helper()
	const killAfter = 25
	var count atomic.Int32
	reached := make(chan struct{})
	done := make(chan map[string]string)
	for w := range 4 {
		go func() {
			mine := map[string]string{}
			defer func() { done <- mine }()
			for i := 0; ; i++ {
				name, value := fmt.Sprintf("r%d-w%d-%d", round, w, i), fmt.Sprint(time.Now().UnixNano())
				_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": value},
				}, metav1.CreateOptions{})
				if err != nil {
					return
				}
				mine[name] = value
				if count.Add(1) == killAfter {
					close(reached)
				}
			}
		}()
	}
	<-reached
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	for range 4 {
		for name, value := range <-done {
			acknowledged[name] = value
		}
	}
}

func checkAcknowledged(t *testing.T, c kubernetes.Interface, want map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	list, err := c.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, m := range list.Items {
		have[m.Name] = m.Data["value"]
	}
	for name, value := range want {
		if have[name] != value {
			t.Errorf("write %s was acknowledged with %s and is %q now", name, value, have[name])
		}
	}
}
