package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd/containerdtest"
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
	var out []string
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
	containerdtest.Need(t)
	pause, hello := containerdtest.Images(t)
	cniDir := t.TempDir()
	socket := containerdtest.Start(t, pause, cniDir)
	cni := CNI{Dir: cniDir, State: t.TempDir(), Network: testNetwork(t)}
	await(t, "containerd's socket", func() error { _, err := os.Stat(socket); return err })
	one := New(Config{Socket: socket, Owner: "node-a", CNI: cni})
	two := New(Config{Socket: socket, Owner: "node-b", CNI: cni})

	checkIdle(t, one)
	a, b := connect(t, one), connect(t, two)
	podA, containerA := runPod(t, a, "first", hello)
	podB, _ := runPod(t, b, "second", hello)

	wantPods(t, a, podA)
	wantPods(t, b, podB)
	if !one.Owns(podA) || one.Owns(podB) || !one.OwnsPod("uid-first") || one.OwnsPod("uid-second") {
		t.Error("node-a mistakes whose pods are whose")
	}
	checkRestart(t, a, podA, containerA, hello)
	stats, err := a.ListContainerStats(t.Context(), nil)
	if err != nil || len(stats) != 1 {
		t.Errorf("got stats of %d containers, %v, want 1", len(stats), err)
	}
	restarted := New(Config{Socket: socket, Owner: "node-a", CNI: cni})
	if !restarted.OwnsPod("uid-first") {
		t.Error("a node that restarts must ask containerd for its pods")
	}
	wantPods(t, connect(t, restarted), podA)
}

// checkIdle checks that a node asks containerd for its pods once, and not again while it has none.
func checkIdle(t *testing.T, r *Runtime) {
	t.Helper()
	if !r.Active() {
		t.Error("a node that has not asked containerd yet must ask")
	}
	wantPods(t, connect(t, r))
	if r.Active() {
		t.Error("a node without pods in containerd must not ask it")
	}
}

func wantPods(t *testing.T, c *Client, want ...string) {
	t.Helper()
	list, err := c.ListPodSandbox(t.Context(), nil)
	if got := ids(list); err != nil || !slices.Equal(got, want) {
		t.Errorf("the node sees pods %v, %v, want %v", got, err, want)
	}
}

// checkRestart reaches a container, runs a command in it, and replaces it.
func checkRestart(t *testing.T, c *Client, sandbox, container, name string) {
	t.Helper()
	status, err := c.PodSandboxStatus(t.Context(), sandbox, false)
	if err != nil {
		t.Fatal(err)
	}
	address := status.GetStatus().GetNetwork().GetIp()
	get(t, address, "first 0")
	stdout, _, err := c.ExecSync(t.Context(), container, []string{"/hello", "say", "hi"}, patience)
	if err != nil || string(stdout) != "hi" {
		t.Errorf("exec printed %q, %v", stdout, err)
	}
	if err := c.StopContainer(t.Context(), container, 1); err != nil {
		t.Fatal(err)
	}
	image, err := c.Images.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: name}, false)
	if err != nil {
		t.Fatal(err)
	}
	startContainer(t, c, sandbox, image.GetImage().GetId(), podConfig(t.TempDir(), "first"), 1)
	get(t, address, "first 1")
	if err := c.RemoveContainer(t.Context(), container); err != nil {
		t.Fatal(err)
	}
	if c.runtime.Owns(container) {
		t.Error("a removed container is still owned")
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
