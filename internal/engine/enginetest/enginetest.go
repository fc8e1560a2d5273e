// Package enginetest gives a test a real Kubernetes API server, without nodes: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, in a process of their own, with the definitions this program serves.
//
// It runs the program itself (`escale controlplane`), so that a test binary links client code only and one package's
// tests start one server. The server dies with the test process, however that ends.
package enginetest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// server is the one API server of this test process.
var server struct {
	once       sync.Once
	kubeconfig string
	err        error
}

// Start returns a client configuration with all rights for the API server that all tests of the package share: a test
// makes a namespace of its own. It skips the test with -short.
func Start(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", Kubeconfig(t))
	if err != nil {
		t.Fatalf("reading the API server's kubeconfig: %v", err)
	}
	cfg.QPS, cfg.Burst = 1000, 2000
	return cfg
}

// Kubeconfig is Start for code that wants a file.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server, which -short leaves out")
	}
	server.once.Do(func() { server.kubeconfig, server.err = start() })
	if server.err != nil {
		t.Fatalf("starting an API server: %v", server.err)
	}
	return server.kubeconfig
}

// Binary builds the program and returns its path. Builds of several test processes share one result.
func Binary() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	cmd := exec.Command("make", "--no-print-directory", "-s", "build")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "escale-test-build.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("opening the build lock: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("taking the build lock: %w", err)
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building the program: %w", err)
	}
	return filepath.Join(root, "bin", "escale"), nil
}

// start starts the server; its first line of output is the path of its kubeconfig. The data directory is removed by
// the next test run, because nothing runs after the last test of a process.
func start() (string, error) {
	binary, err := Binary()
	if err != nil {
		return "", err
	}
	base := filepath.Join(os.TempDir(), "escale-test")
	removeStale(base)
	dir := filepath.Join(base, fmt.Sprint(os.Getpid()))
	out, in, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("making a pipe: %w", err)
	}
	started := make(chan error)
	go func() {
		// The server is killed when the thread that started it ends, so this goroutine keeps the thread for good.
		runtime.LockOSThread()
		cmd := exec.Command(binary, "controlplane", "--data-dir", dir, "--api-port", "0")
		cmd.Stdout, cmd.Stderr = in, os.Stderr
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
		err := cmd.Start()
		_ = in.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", fmt.Errorf("starting %q: %w", binary, err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("waiting for %q to be ready: %w", binary, err)
	}
	return strings.TrimSpace(line), nil
}

// removeStale removes the data of servers whose test process is gone.
func removeStale(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join("/proc", e.Name())); os.IsNotExist(err) {
			_ = os.RemoveAll(filepath.Join(base, e.Name()))
		}
	}
}
