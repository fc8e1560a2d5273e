package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/escale-dev/escale/internal/engine"
)

// patience bounds waiting for what another process does.
const patience = 30 * time.Second

func testNetwork(t *testing.T) engine.Network {
	t.Helper()
	n, err := engine.NewNetwork("10.86.0.0/15")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startContainerd runs Debian's containerd with everything of its own below a temporary folder, and returns its socket.
func startContainerd(t *testing.T, pauseImage string) (socket, cniDir string) {
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
	dir := t.TempDir()
	socket, cniDir = filepath.Join(dir, "c.sock"), filepath.Join(dir, "cni")
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
	return socket, cniDir
}

// unmountAll takes away what containerd leaves mounted below dir, so that the folder can go.
func unmountAll(t *testing.T, dir string) {
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

// await calls f until it succeeds, as nothing tells when another process is ready.
func await(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// serveImages builds the test's program into two images and returns their names in a registry on loopback.
func serveImages(t *testing.T) (pause, hello string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/hello")
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

func push(t *testing.T, name string, program []byte, command ...string) {
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

func diffIDs(t *testing.T, layer v1.Layer) []v1.Hash {
	t.Helper()
	id, err := layer.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}

func connect(t *testing.T, r *Runtime) *Client {
	t.Helper()
	var client *Client
	await(t, "connecting to containerd", func() (err error) {
		client, err = r.Client(t.Context())
		return err
	})
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return client
}

func podConfig(dir, name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		Hostname:     name,
		LogDirectory: dir,
		Labels:       map[string]string{labelPodUID: "uid-" + name},
		Linux:        &runtimeapi.LinuxPodSandboxConfig{},
	}
}

// runPod starts a pod with one container of the image and returns their ids.
func runPod(t *testing.T, c *Client, name, image string) (sandbox, container string) {
	t.Helper()
	ctx := t.Context()
	pod := podConfig(t.TempDir(), name)
	sandbox, err := c.RunPodSandbox(ctx, pod, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.StopPodSandbox(context.Background(), sandbox), c.RemovePodSandbox(context.Background(), sandbox)); err != nil {
			t.Error(err)
		}
	})
	ref, err := c.Images.PullImage(ctx, &runtimeapi.ImageSpec{Image: image}, nil, pod)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox, startContainer(t, c, sandbox, ref, pod, 0)
}

func startContainer(t *testing.T, c *Client, sandbox, image string, pod *runtimeapi.PodSandboxConfig, attempt uint32) string {
	t.Helper()
	id, err := c.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "hello", Attempt: attempt},
		Image:    &runtimeapi.ImageSpec{Image: image},
		Labels:   map[string]string{labelPodUID: pod.GetMetadata().GetUid()},
		Envs:     []*runtimeapi.KeyValue{{Key: "GREETING", Value: fmt.Appendf(nil, "%s %d", pod.GetMetadata().GetName(), attempt)}},
		LogPath:  fmt.Sprintf("%d.log", attempt),
		Linux:    &runtimeapi.LinuxContainerConfig{},
	}, pod)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func get(t *testing.T, address, want string) {
	t.Helper()
	await(t, "asking "+address, func() error {
		response, err := http.Get("http://" + address + ":8080/")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && string(body) != want {
			err = fmt.Errorf("answered %q, want %q", body, want)
		}
		return err
	})
}

func ids(sandboxes []*runtimeapi.PodSandbox) []string {
	out := []string{}
	for _, s := range sandboxes {
		out = append(out, s.GetId())
	}
	return out
}

// TestContainerd runs pods of two nodes in one real containerd: each node sees its own, and a pod can be reached, run
// commands and be restarted.
func TestContainerd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real containerd")
	}
	pauseImage, hello := serveImages(t)
	socket, cniDir := startContainerd(t, pauseImage)
	cni := CNI{Dir: cniDir, State: t.TempDir(), Network: testNetwork(t)}
	one := New(Config{Socket: socket, Owner: "node-a", CNI: cni})
	two := New(Config{Socket: socket, Owner: "node-b", CNI: cni})
	await(t, "containerd's socket", func() error { _, err := os.Stat(socket); return err })
	if !one.Active() {
		t.Error("a node that has not asked containerd yet must ask")
	}
	a, b := connect(t, one), connect(t, two)
	if _, err := a.ListPodSandbox(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if one.Active() {
		t.Error("a node without pods in containerd must not ask it")
	}
	podA, containerA := runPod(t, a, "first", hello)
	podB, _ := runPod(t, b, "second", hello)

	for _, c := range []struct {
		name string
		node *Client
		want string
	}{{"node-a", a, podA}, {"node-b", b, podB}} {
		list, err := c.node.ListPodSandbox(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(list); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s sees pods %v, want only %s", c.name, got, c.want)
		}
	}
	if !one.Owns(podA) || one.Owns(podB) || !one.OwnsPod("uid-first") || one.OwnsPod("uid-second") {
		t.Error("node-a mistakes whose pods are whose")
	}

	status, err := a.PodSandboxStatus(t.Context(), podA, false)
	if err != nil {
		t.Fatal(err)
	}
	address := status.GetStatus().GetNetwork().GetIp()
	get(t, address, "first 0")

	stdout, _, err := a.ExecSync(t.Context(), containerA, []string{"/hello", "say", "hi"}, patience)
	if err != nil || string(stdout) != "hi" {
		t.Errorf("exec printed %q, %v", stdout, err)
	}

	if err := a.StopContainer(t.Context(), containerA, 1); err != nil {
		t.Fatal(err)
	}
	pod := podConfig(t.TempDir(), "first")
	image, err := a.Images.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: hello}, false)
	if err != nil {
		t.Fatal(err)
	}
	startContainer(t, a, podA, image.GetImage().GetId(), pod, 1)
	get(t, address, "first 1")
	if err := a.RemoveContainer(t.Context(), containerA); err != nil {
		t.Fatal(err)
	}
	if one.Owns(containerA) {
		t.Error("a removed container is still owned")
	}

	stats, err := a.ListContainerStats(t.Context(), nil)
	if err != nil || len(stats) != 1 {
		t.Errorf("got stats of %d containers, %v, want 1", len(stats), err)
	}
	restarted := New(Config{Socket: socket, Owner: "node-a", CNI: cni})
	if !restarted.OwnsPod("uid-first") {
		t.Error("a node that restarts must ask containerd for its pods")
	}
	if list, err := connect(t, restarted).ListPodSandbox(t.Context(), nil); err != nil || !slices.Equal(ids(list), []string{podA}) {
		t.Errorf("after a restart the node sees %v, %v, want %s", ids(list), err, podA)
	}
}

// TestAbsent checks what a pod's event says when there is no containerd.
func TestAbsent(t *testing.T) {
	absent := New(Config{Socket: filepath.Join(t.TempDir(), "none.sock"), Owner: "node-a"})
	if _, err := absent.Client(t.Context()); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "apt-get install containerd") {
		t.Errorf("got %v, want what to install", err)
	}
	if absent.Active() {
		t.Error("nothing is there to ask")
	}
	private := New(Config{Owner: "node-a"})
	if _, err := private.Client(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want that containerd is out of reach", err)
	}
	if private.Active() {
		t.Error("nothing is there to ask")
	}
}

// TestInvisible checks that a container is refused a volume that containerd would not see.
func TestInvisible(t *testing.T) {
	cause := errors.New("containerd cannot see it")
	c := &Client{runtime: New(Config{Visible: func(path string) error {
		if path == "/hidden" {
			return cause
		}
		return nil
	}})}
	_, err := c.CreateContainer(t.Context(), "s", &runtimeapi.ContainerConfig{
		Mounts: []*runtimeapi.Mount{{HostPath: "/seen", ContainerPath: "/a"}, {HostPath: "/hidden", ContainerPath: "/b"}},
	}, nil)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), `"/b"`) {
		t.Errorf("got %v, want the refused mount", err)
	}
}

func TestInstallCNI(t *testing.T) {
	cases := []struct {
		name    string
		files   map[string]string
		changed bool
	}{
		{name: "an empty folder gets the configuration", changed: true},
		{name: "someone else's network stays alone", files: map[string]string{"87-podman.conflist": "{}"}},
		{name: "a file that containerd does not read is no network", files: map[string]string{".keep": ""}, changed: true},
		{name: "an old configuration of our own is replaced", files: map[string]string{cniFile: "{}"}, changed: true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cni := CNI{Dir: dir, State: "/var/lib/escale/cni", Network: testNetwork(t)}
			for round, want := range []bool{tc.changed, false} {
				if got, err := cni.Install(); err != nil || got != want {
					t.Fatalf("round %d: changed %v, %v, want %v", round, got, err, want)
				}
			}
			if err := errors.Join(RemoveCNI(dir), RemoveCNI(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, cniFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the configuration is still there: %v", err)
			}
		})
	}
}

func TestCNIConfig(t *testing.T) {
	b, err := CNIConfig(testNetwork(t), "/var/lib/escale/cni")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Plugins []struct {
			Type string
			IPAM struct {
				Ranges [][]struct{ Subnet string }
			}
		}
	}
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if got := list.Plugins[0].IPAM.Ranges[0][0].Subnet; got != "10.86.252.0/22" || list.Plugins[0].Type != "ptp" {
		t.Errorf("got %s on %s, want the network's last block on ptp", got, list.Plugins[0].Type)
	}
}
