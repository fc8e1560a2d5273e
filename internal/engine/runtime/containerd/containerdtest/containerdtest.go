// Package containerdtest gives tests a real containerd with everything of its own, and images for it to run.
package containerdtest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// Need skips the test where containerd cannot run: without root, or without the Debian packages.
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containerd needs root")
	}
	for _, program := range []string{"containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: apt-get install containerd runc containernetworking-plugins", program)
		}
	}
	if _, err := os.Stat("/usr/lib/cni/ptp"); err != nil {
		t.Skip("no CNI plugins: apt-get install containernetworking-plugins")
	}
}

// Start runs Debian's containerd with everything of its own below a temporary folder, and returns its socket, which may
// take a moment to be there. It reads network configurations from cniDir.
func Start(t testing.TB, pauseImage, cniDir string) (socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "c.sock")
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, pauseImage, cniDir)
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command("containerd", "--config", file)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Logf("containerd: %v", err)
		}
		if t.Failed() {
			t.Logf("containerd printed:\n%s", output.String())
		}
		unmountAll(t, dir)
	})
	return socket
}

// unmountAll takes away what containerd leaves mounted below dir, so that the folder can go.
func unmountAll(t testing.TB, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if point := strings.Fields(line)[1]; strings.HasPrefix(point, dir+"/") {
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				t.Logf("unmounting %s: %v", point, err)
			}
		}
	}
}

// Images builds the program in the folder hello into two images and returns their names in a registry on loopback: one
// for pods, one that greets.
func Images(t testing.TB) (pause, hello string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	_, file, _, _ := runtime.Caller(0)
	build.Dir = filepath.Join(filepath.Dir(file), "hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the image's program: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	pause, hello = host+"/pause:1", host+"/hello:1"
	push(t, pause, content, "/hello", "pause")
	push(t, hello, content, "/hello")
	return pause, hello
}

func push(t testing.TB, name string, program []byte, command ...string) {
	t.Helper()
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	header := &tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(program))}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, layer)},
		Config: v1.Config{Entrypoint: command},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, name, crane.Insecure); err != nil {
		t.Fatal(err)
	}
}

func diffIDs(t testing.TB, layer v1.Layer) []v1.Hash {
	t.Helper()
	id, err := layer.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}
