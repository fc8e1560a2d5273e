package process

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/vishvananda/netlink"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
)

// insideEnv marks the process that runs the tests in a network namespace of its own; nodeEnv the one that plays a node
// to be killed.
const (
	insideEnv = "ESCALE_TEST_INSIDE"
	nodeEnv   = "ESCALE_TEST_NODE"
)

var (
	testHost = netip.MustParseAddr("10.42.0.1")
	testNode = netip.MustParseAddr("10.42.4.1")
	testPods = netip.MustParsePrefix("10.42.4.0/22")
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(insideEnv) == "" {
		os.Exit(runInside())
	}
	if os.Getenv(nodeEnv) != "" {
		playNode()
		return
	}
	if err := makeTestNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "test network:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runInside runs the same tests in a fresh network namespace, which every thread of a process is in only when the
// process was born there.
func runInside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func makeTestNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "escale-10-42"}}
	err = netlink.LinkAdd(bridge)
	if errors.Is(err, os.ErrExist) {
		return nil // a worker of the fuzzer, born into the network of its parent
	}
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{testHost, testNode} {
		if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: single(a)}); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and interfaces are made")
	}
}

func testConfig(name, dir string) Config {
	return Config{
		Node: name, NodeAddress: testNode, PodCIDR: testPods, Host: testHost,
		StateDir: filepath.Join(dir, "state"), ImagesDir: filepath.Join(dir, "images"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// bench is a runtime under test with one pod per call of pod.
type bench struct {
	testing.TB
	*Runtime
	dir string
}

// newBench starts a runtime in a folder that any user may pass through, as the platform's is.
func newBench(t testing.TB) *bench {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "escale-process")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := New(testConfig("test-"+filepath.Base(dir), dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("closing: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &bench{t, r, dir}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func podConfig(dir, name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		Hostname:     name,
		LogDirectory: filepath.Join(dir, "logs", name),
		DnsConfig: &runtimeapi.DNSConfig{
			Servers: []string{"10.42.4.1"}, Searches: []string{"default.svc.cluster.local", "cluster.local"}, Options: []string{"ndots:5"},
		},
		Labels: map[string]string{"pod": name},
		Linux:  &runtimeapi.LinuxPodSandboxConfig{},
	}
}

// pod runs a sandbox and returns its id and address.
func (b *bench) pod(name string) (string, string) {
	b.Helper()
	id, err := b.RunPodSandbox(b.Context(), podConfig(b.dir, name), "process")
	b.must(err)
	st, err := b.PodSandboxStatus(b.Context(), id, false)
	b.must(err)
	return id, st.Status.Network.Ip
}

// program is a container's configuration that runs a command of the machine.
func program(args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: v1alpha1.HostImage},
		Command:  args,
		LogPath:  "main/" + newID() + ".log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func shell(script string) *runtimeapi.ContainerConfig { return program("sh", "-c", script) }

func (b *bench) create(pod string, c *runtimeapi.ContainerConfig) string {
	b.Helper()
	id, err := b.CreateContainer(b.Context(), pod, c, nil)
	b.must(err)
	return id
}

func (b *bench) start(pod string, c *runtimeapi.ContainerConfig) string {
	b.Helper()
	id := b.create(pod, c)
	b.must(b.StartContainer(b.Context(), id))
	return id
}

// wait returns the status of a container that has ended.
func (b *bench) wait(id string) *runtimeapi.ContainerStatus {
	b.Helper()
	c, err := b.container(id)
	b.must(err)
	<-c.stopped
	return b.status(id)
}

func (b *bench) status(id string) *runtimeapi.ContainerStatus {
	b.Helper()
	resp, err := b.ContainerStatus(b.Context(), id, false)
	b.must(err)
	return resp.Status
}

// logs returns the text of a container's log without its headers.
func (b *bench) logs(id string) string {
	b.Helper()
	raw, err := os.ReadFile(b.status(id).LogPath)
	b.must(err)
	var text strings.Builder
	for line := range strings.Lines(string(raw)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			b.Fatalf("log line %q is not in CRI format", line)
		}
		if fields[2] == "P" {
			fields[3] = strings.TrimSuffix(fields[3], "\n")
		}
		text.WriteString(fields[3])
	}
	return text.String()
}

// output runs a program in a pod of its own to its end and returns what it wrote.
func (b *bench) output(c *runtimeapi.ContainerConfig) string {
	b.Helper()
	pod, _ := b.pod("output")
	defer func() { b.must(b.RemovePodSandbox(b.Context(), pod)) }()
	id := b.start(pod, c)
	st := b.wait(id)
	out := b.logs(id)
	if st.ExitCode != 0 {
		b.Fatalf("exit code %d: %s", st.ExitCode, out)
	}
	return out
}

// entry is a file of a test image; one without content whose name ends in a slash is a folder.
type entry struct {
	name, content string
	mode          int64
	kind          byte
	link          string
}

func archive(entries ...entry) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: e.kind, Linkname: e.link}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func layerOf(t testing.TB, b []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// push serves an image from a registry of its own and returns its reference.
func push(t testing.TB, config v1.Config, entries ...entry) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	img, err := mutate.AppendLayers(empty.Image, layerOf(t, archive(entries...)))
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/shop:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

func value64(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }

// pushApp serves an image with one file that is not below "app".
func pushApp(t testing.TB) string {
	t.Helper()
	return push(t, v1.Config{}, entry{name: "main", content: "main\n"})
}
