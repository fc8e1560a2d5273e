package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"
	utilexec "k8s.io/utils/exec"

	"github.com/escale-dev/escale/internal/engine/priority"
)

func TestStartSaysWhyAProgramCannotRun(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	dir := filepath.Join(b.dir, "volume")
	b.must(os.MkdirAll(dir, 0o755))
	b.must(os.WriteFile(filepath.Join(dir, "data"), []byte("text"), 0o644))
	b.must(os.WriteFile(filepath.Join(dir, "script"), []byte("#!/no/such/shell\n"), 0o755))
	b.must(os.WriteFile(filepath.Join(dir, "noise"), []byte("neither"), 0o755))
	for name, tc := range map[string]struct {
		program string
		want    string
	}{
		"missing name":        {"no-such-program", `program "no-such-program" is not on this machine and not in the image`},
		"missing path":        {"/no/such/program", `program "/no/such/program" is not on this machine and not in the image`},
		"not a program":       {"/volume/data", `program "/volume/data" must not be executed by this user`},
		"folder":              {"/usr", `program "/usr" is not a file`},
		"missing interpreter": {"/volume/script", "interpreter"},
		"no format":           {"/volume/noise", "neither a program"},
	} {
		t.Run(name, func(t *testing.T) {
			c := program(tc.program)
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/volume", HostPath: dir}}
			id := b.create(pod, c)
			err := b.StartContainer(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got error %v, want one with %q", err, tc.want)
			}
			st := b.status(id)
			if st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 128 || st.Reason != "StartError" {
				t.Errorf("got state %v, code %d, reason %q", st.State, st.ExitCode, st.Reason)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	for name, tc := range map[string]struct {
		script string
		code   int32
		reason string
	}{
		"success":       {"exit 0", 0, "Completed"},
		"failure":       {"exit 3", 3, "Error"},
		"child by kill": {"sh -c 'kill -9 $$'", 137, "Error"},
	} {
		t.Run(name, func(t *testing.T) {
			st := b.wait(b.start(pod, shell(tc.script)))
			if st.ExitCode != tc.code || st.Reason != tc.reason || st.FinishedAt < st.StartedAt {
				t.Errorf("got %d %q", st.ExitCode, st.Reason)
			}
		})
	}
}

func TestStopAsksAndThenKills(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	polite := b.start(pod, shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"))
	stubborn := b.start(pod, shell("trap '' TERM; echo up; while :; do sleep 0.1; done"))
	for _, id := range []string{polite, stubborn} {
		b.waitLog(id, "up\n")
	}
	b.must(b.StopContainer(t.Context(), polite, 30))
	if st := b.status(polite); st.ExitCode != 7 || b.logs(polite) != "up\nbye\n" {
		t.Errorf("polite: code %d, log %q", st.ExitCode, b.logs(polite))
	}
	b.must(b.StopContainer(t.Context(), stubborn, 1))
	if st := b.status(stubborn); st.ExitCode != 137 {
		t.Errorf("stubborn: code %d", st.ExitCode)
	}
	signalled := shell("trap 'exit 8' USR1; echo up; while :; do sleep 0.1; done")
	signalled.StopSignal = runtimeapi.Signal_SIGUSR1
	id := b.start(pod, signalled)
	b.waitLog(id, "up\n")
	b.must(b.StopContainer(t.Context(), id, 30))
	if st := b.status(id); st.ExitCode != 8 {
		t.Errorf("signalled: code %d", st.ExitCode)
	}
}

// waitLog follows a container's output until its log starts with want.
func (b *bench) waitLog(id, want string) {
	b.Helper()
	c, err := b.container(id)
	b.must(err)
	me := c.attached.join()
	defer c.attached.leave(me)
	for !strings.HasPrefix(b.logs(id), want) {
		if _, ok := <-me.chunks; !ok {
			b.Fatalf("container ended with log %q, want %q", b.logs(id), want)
		}
	}
}

func TestAStopThatIsCalledOffKillsNothing(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, shell("trap '' TERM; read x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.StopContainer(ctx, id, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAClosedRuntimeStartsNothing(t *testing.T) {
	b := newBench(t)
	null, err := os.Open(os.DevNull)
	b.must(err)
	b.must(b.Close(t.Context()))
	if _, err := b.launcher.fork(&command{stdio: [3]*os.File{null, null, null}}, null); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

func TestEverythingCanBeRemovedTwice(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, program("sleep", "1000"))
	ctx := t.Context()
	for range 2 {
		b.must(b.StopContainer(ctx, id, 0))
		b.must(b.StopPodSandbox(ctx, pod))
		b.must(b.RemoveContainer(ctx, id))
		b.must(b.RemovePodSandbox(ctx, pod))
	}
	if _, err := b.PodSandboxStatus(ctx, pod, false); err == nil {
		t.Error("the pod is still there")
	}
	left, err := os.ReadDir(filepath.Join(b.dir, "state", "containers"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestRemovingARunningPod(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	for range 3 {
		b.start(pod, program("sleep", "1000"))
	}
	b.must(b.RemovePodSandbox(t.Context(), pod))
	cs, err := b.ListContainers(t.Context(), nil)
	if err != nil || len(cs) != 0 {
		t.Errorf("containers left: %v %v", cs, err)
	}
}

func TestUsersAndCapabilities(t *testing.T) {
	b := newBench(t)
	context := func(sc *runtimeapi.LinuxContainerSecurityContext, script string) *runtimeapi.ContainerConfig {
		c := shell(script)
		c.Linux.SecurityContext = sc
		return c
	}
	const caps = "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t'"
	for name, tc := range map[string]struct {
		config *runtimeapi.ContainerConfig
		want   string
	}{
		"numeric user": {
			context(&runtimeapi.LinuxContainerSecurityContext{
				RunAsUser: value64(1234), RunAsGroup: value64(5678), SupplementalGroups: []int64{99, 98},
			}, "id -u; id -g; id -G"), "1234\n5678\n5678 98 99\n",
		},
		"no capabilities": {
			context(&runtimeapi.LinuxContainerSecurityContext{RunAsUser: value64(1234)}, caps),
			"CapEff:0000000000000000\nCapBnd:0000000000000000\nNoNewPrivs:1\n",
		},
		"root's default": {
			context(&runtimeapi.LinuxContainerSecurityContext{}, caps),
			"CapEff:00000000a00425fb\nCapBnd:00000000a00425fb\nNoNewPrivs:1\n",
		},
		"dropped": {
			context(&runtimeapi.LinuxContainerSecurityContext{
				Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}},
			}, caps), "CapEff:0000000000000400\nCapBnd:0000000000000400\nNoNewPrivs:1\n",
		},
		"read-only root": {
			context(&runtimeapi.LinuxContainerSecurityContext{ReadonlyRootfs: true},
				"for f in /x /tmp/x /var/x /run/x; do touch $f 2>/dev/null && echo $f; done; echo x > /dev/shm/x && echo ok"), "ok\n",
		},
		"masked": {
			context(&runtimeapi.LinuxContainerSecurityContext{
				MaskedPaths: []string{"/proc/uptime", "/proc/fs", "/proc/none"}, ReadonlyPaths: []string{"/proc/sys"},
			}, "cat /proc/uptime; ls /proc/fs; echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo refused"), "refused\n",
		},
		"privileged": {
			context(&runtimeapi.LinuxContainerSecurityContext{Privileged: true}, "grep -c NoNewPrivs:.0 /proc/self/status; mkdir /tmp/m && mount -t tmpfs x /tmp/m && echo mounted"),
			"1\nmounted\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&bench{t, b.Runtime, b.dir}).output(tc.config); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestVolumes(t *testing.T) {
	b := newBench(t)
	host := func(name, content string) string {
		path := filepath.Join(b.dir, name)
		b.must(os.MkdirAll(filepath.Dir(path), 0o755))
		b.must(os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	secret := filepath.Dir(host("secret/token", "s3cret\n"))
	data := filepath.Dir(host("data/old", "old\n"))
	hosts := host("hosts", "10.0.0.1 somewhere\n")
	ref := pushApp(t)
	c := shell(`cat /run/secrets/a/token /data/old /etc/hosts /etc/escale/new/token /app/cache/old /app/main
echo x 2>/dev/null > /data/inner/token || echo read-only; echo new > /data/new; ls /data/inner /etc/passwd /usr/share/none/token`)
	c.Image = &runtimeapi.ImageSpec{Image: ref}
	c.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/data/inner", HostPath: secret, Readonly: true},
		{ContainerPath: "/data", HostPath: data},
		{ContainerPath: "/var/run/secrets/a", HostPath: secret, Readonly: true},
		{ContainerPath: "/etc/hosts", HostPath: hosts},
		{ContainerPath: "/etc/escale/new", HostPath: secret},
		{ContainerPath: "/usr/share/none", HostPath: secret},
		{ContainerPath: "/app/cache", HostPath: data},
		{ContainerPath: "/created", HostPath: filepath.Join(b.dir, "made", "by", "us")},
	}
	want := "s3cret\nold\n10.0.0.1 somewhere\ns3cret\nold\nmain\nread-only\n/etc/passwd\n/usr/share/none/token\n\n/data/inner:\ntoken\n"
	if got := b.output(c); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, err := os.ReadFile(filepath.Join(data, "new")); err != nil || string(got) != "new\n" {
		t.Errorf("written file: %q %v", got, err)
	}
}

func TestPodsReachEachOtherAndTheMachine(t *testing.T) {
	b := newBench(t)
	server, address := b.pod("server")
	b.start(server, program("python3", "-m", "http.server", "80", "--bind", "0.0.0.0"))
	const fetch = `
import sys, time, urllib.request
for i in range(200):
    try:
        print(urllib.request.urlopen("http://%s/etc/hostname" % sys.argv[1], timeout=5).status); break
    except OSError: time.sleep(0.05)`
	if got := b.output(program("python3", "-c", fetch, address)); got != "200\n" {
		t.Errorf("from a pod: got %q", got)
	}
	resp, err := http.Get("http://" + address + "/etc/passwd")
	b.must(err)
	_ = resp.Body.Close()
	own := &http.Server{Addr: testHost.String() + ":9999", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	go func() { _ = own.ListenAndServe() }()
	defer func() { _ = own.Close() }()
	const ask = `import sys, urllib.request; print(urllib.request.urlopen("http://%s:9999/" % sys.argv[1]).read().decode().split(":")[0])`
	pod, ip := b.pod("asker")
	id := b.start(pod, program("python3", "-c", ask, testHost.String()))
	if b.wait(id); b.logs(id) != ip+"\n" {
		t.Errorf("the machine saw %q, want %q", b.logs(id), ip)
	}
}

func TestMemoryLimit(t *testing.T) {
	b := newBench(t)
	if b.cgroups.folders["memory"] == "" && !b.cgroups.unified {
		t.Skip("the memory controller cannot be written here")
	}
	pod, _ := b.pod("pod")
	c := program("python3", "-c", "x = 'x' * (1 << 30)")
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512, CpuQuota: 50000, CpuPeriod: 100000}
	if st := b.wait(b.start(pod, c)); st.Reason != "OOMKilled" || st.ExitCode != 137 {
		t.Errorf("got %q %d", st.Reason, st.ExitCode)
	}
	seen := shell("cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
	seen.Linux.Resources = c.Linux.Resources
	if got := b.output(seen); got != "67108864\n" {
		t.Errorf("the container sees limit %q", got)
	}
}

func TestLimitsCanBeChanged(t *testing.T) {
	b := newBench(t)
	if b.cgroups.folders["memory"] == "" && !b.cgroups.unified {
		t.Skip("the memory controller cannot be written here")
	}
	pod, _ := b.pod("pod")
	c := program("sleep", "1000")
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512}
	id := b.start(pod, c)
	b.must(b.UpdateContainerResources(t.Context(), id, &runtimeapi.ContainerResources{
		Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 128 << 20},
	}))
	got := b.status(id).Resources.Linux
	if got.MemoryLimitInBytes != 128<<20 || got.CpuShares != 512 {
		t.Errorf("got %v", got)
	}
	stats, err := b.ContainerStats(t.Context(), id)
	b.must(err)
	if free := stats.Memory.AvailableBytes.GetValue(); free < 100<<20 || free > 128<<20 {
		t.Errorf("%d bytes are available", free)
	}
}

func TestStats(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, shell("echo up; while :; do :; done"))
	b.waitLog(id, "up\n")
	first, err := b.ContainerStats(t.Context(), id)
	b.must(err)
	for rate := uint64(0); rate == 0; {
		pods, err := b.ListPodSandboxStats(t.Context(), nil)
		b.must(err)
		rate = pods[0].Linux.Cpu.UsageNanoCores.GetValue()
		if c := pods[0].Linux.Cpu.UsageCoreNanoSeconds.GetValue(); c < first.Cpu.UsageCoreNanoSeconds.GetValue() {
			t.Fatalf("processor time went back to %d", c)
		}
		if pods[0].Linux.Network == nil || pods[0].Linux.Memory.WorkingSetBytes.GetValue() == 0 {
			t.Fatalf("network %v, memory %v", pods[0].Linux.Network, pods[0].Linux.Memory)
		}
	}
	c, err := b.container(id)
	b.must(err)
	tree, err := treeFigures(c.process.pid)
	if err != nil || tree.rss == 0 {
		t.Errorf("without cgroups: %v %v", tree, err)
	}
}

func TestExecSync(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	c := program("sleep", "1000")
	c.Linux.SecurityContext.RunAsUser = value64(1234)
	id := b.start(pod, c)
	ctx := t.Context()
	out, errOut, err := b.ExecSync(ctx, id, []string{"sh", "-c", "id -u; hostname; echo oops >&2; cat /proc/1/comm; exit 0"}, time.Minute)
	if err != nil || string(out) != "1234\npod\nsleep\n" || string(errOut) != "oops\n" {
		t.Errorf("got %q %q %v", out, errOut, err)
	}
	_, _, err = b.ExecSync(ctx, id, []string{"sh", "-c", "exit 4"}, time.Minute)
	if code, ok := errors.AsType[utilexec.CodeExitError](err); !ok || code.Code != 4 {
		t.Errorf("got %v, want exit code 4", err)
	}
	if _, _, err = b.ExecSync(ctx, id, []string{"sleep", "1000"}, 50*time.Millisecond); !errors.Is(err, remote.ErrCommandTimedOut) {
		t.Errorf("got %v, want a time-out", err)
	}
	if _, _, err = b.ExecSync(ctx, id, []string{"no-such-program"}, time.Minute); err == nil || !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("got %v", err)
	}
}

func TestTerminal(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	c := shell("tty; stty size; read line; echo got $line")
	c.Tty, c.Stdin = true, true
	id := b.start(pod, c)
	b.waitLog(id, "/dev/pts/0")
	st, err := b.container(id)
	b.must(err)
	_, err = st.stdin.WriteString("input\n")
	b.must(err)
	b.wait(id)
	if got := b.logs(id); !strings.Contains(got, "got input") {
		t.Errorf("got %q", got)
	}
}

func TestPortForwardReachesThePodsLoopback(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, program("python3", "-u", "-c", `
import socket
s = socket.socket(); s.bind(("127.0.0.1", 8123)); s.listen(); print("up", flush=True)
c, _ = s.accept(); c.sendall(c.recv(100)[::-1]); c.close()`))
	b.waitLog(id, "up\n")
	var out bytes.Buffer
	stream := &duplex{Reader: strings.NewReader("abc"), Writer: &out}
	if err := (streamRuntime{b.Runtime}).PortForward(t.Context(), pod, 8123, stream); err != nil || out.String() != "cba" {
		t.Errorf("got %q %v", out.String(), err)
	}
	if err := (streamRuntime{b.Runtime}).PortForward(t.Context(), pod, 8124, stream); err == nil {
		t.Error("a port nobody listens on was reached")
	}
}

type duplex struct {
	io.Reader
	io.Writer
}

func (*duplex) Close() error { return nil }

func TestStreamAddresses(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	id := b.start(pod, program("sleep", "1000"))
	resp, err := b.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"true"}, Stdout: true})
	b.must(err)
	u, err := url.Parse(resp.Url)
	if err != nil || u.Hostname() != "127.0.0.1" || u.Port() == "0" {
		t.Errorf("got %q", resp.Url)
	}
	if _, err := b.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: "none", Cmd: []string{"true"}, Stdout: true}); err == nil {
		t.Error("a container that does not exist was accepted")
	}
}

func TestEventsTellTheWholeLife(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := b.Events(ctx)
	pod, address := b.pod("pod")
	id := b.start(pod, shell("exit 3"))
	b.wait(id)
	b.must(b.RemovePodSandbox(ctx, pod))
	want := []string{
		"pod CREATED", "pod STARTED", "main CREATED", "main STARTED RUNNING", "main STOPPED EXITED",
		"pod STOPPED", "main DELETED", "pod DELETED",
	}
	last := int64(0)
	for i, w := range want {
		ev := <-events
		if ev.PodSandboxStatus.GetMetadata().GetUid() != "uid-pod" || ev.CreatedAt < last {
			t.Errorf("event %d: pod %v at %d", i, ev.PodSandboxStatus, ev.CreatedAt)
		}
		last = ev.CreatedAt
		if got := describeEvent(ev, id); !strings.HasPrefix(got, w) {
			t.Errorf("event %d: got %q, want %q", i, got, w)
		}
		if i == 1 && ev.PodSandboxStatus.Network.Ip != address {
			t.Errorf("event %d: address %q", i, ev.PodSandboxStatus.Network.Ip)
		}
	}
}

func describeEvent(ev *runtimeapi.ContainerEventResponse, container string) string {
	kind := strings.TrimSuffix(strings.TrimPrefix(ev.ContainerEventType.String(), "CONTAINER_"), "_EVENT")
	if ev.ContainerId != container {
		return "pod " + kind
	}
	state := ""
	for _, c := range ev.ContainersStatuses {
		state = strings.TrimPrefix(c.State.String(), "CONTAINER_")
	}
	return fmt.Sprintf("main %s %s", kind, state)
}

func TestLogRotation(t *testing.T) {
	b := newBench(t)
	pod, _ := b.pod("pod")
	c := shell("echo one; read x; echo two")
	c.Stdin = true
	id := b.start(pod, c)
	b.waitLog(id, "one\n")
	path := b.status(id).LogPath
	b.must(os.Rename(path, path+".1"))
	b.must(b.ReopenContainerLog(t.Context(), id))
	st, err := b.container(id)
	b.must(err)
	b.must(st.stdin.Close())
	b.wait(id)
	if got := b.logs(id); got != "two\n" {
		t.Errorf("got %q", got)
	}
	if b.ReopenContainerLog(t.Context(), id) == nil {
		t.Error("the log of a container that has ended was reopened")
	}
}

func TestMuchOutputArrivesComplete(t *testing.T) {
	b := newBench(t)
	const n = 200_000
	got := b.output(program("seq", fmt.Sprint(n)))
	if lines := strings.Count(got, "\n"); lines != n || !strings.HasSuffix(got, fmt.Sprintf("\n%d\n", n)) {
		t.Errorf("got %d lines", lines)
	}
	if got := b.output(shell("head -c 100000 /dev/zero | tr '\\0' x")); len(got) != 100_001 {
		t.Errorf("got %d bytes of one long line", len(got))
	}
}

func TestProgramsHaveExactTimers(t *testing.T) {
	b := newBench(t)
	priority.Patient() // as a node is
	if got := b.output(shell("cat /proc/self/timerslack_ns")); strings.TrimSpace(got) != "50000" {
		t.Errorf("timers come up to %s ns late, want the kernel's 50000", got)
	}
}

func TestHostNetworkAndProcesses(t *testing.T) {
	b := newBench(t)
	config := podConfig(b.dir, "host")
	config.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE,
	}}
	pod, err := b.RunPodSandbox(t.Context(), config, "process")
	b.must(err)
	st, err := b.PodSandboxStatus(t.Context(), pod, false)
	b.must(err)
	if st.Status.Network.Ip != testNode.String() {
		t.Errorf("address %q", st.Status.Network.Ip)
	}
	c := shell(fmt.Sprintf("readlink /proc/self/ns/net; ls -d /proc/%d; sleep 1000 & exit 0", os.Getpid()))
	c.Linux.SecurityContext.NamespaceOptions = config.Linux.SecurityContext.NamespaceOptions
	id := b.start(pod, c)
	b.wait(id)
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	b.must(err)
	if got, want := b.logs(id), fmt.Sprintf("%s\n/proc/%d\n", ns, os.Getpid()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A container that runs as root must not reach the program's own file through /proc/PID/exe.
func TestThisProgramIsOpenedReadOnly(t *testing.T) {
	b := newBench(t)
	var st unix.Statfs_t
	b.must(unix.Fstatfs(int(b.launcher.self.Fd()), &st))
	if st.Flags&unix.ST_RDONLY == 0 {
		t.Error("it can be written")
	}
}

func BenchmarkPodStart(bm *testing.B) {
	b := newBench(bm)
	for bm.Loop() {
		pod, _ := b.pod("pod")
		b.start(pod, program("sleep", "1000"))
		bm.StopTimer()
		b.must(b.RemovePodSandbox(bm.Context(), pod))
		bm.StartTimer()
	}
}

func BenchmarkLines(b *testing.B) {
	chunk := []byte(strings.Repeat("one line of a program's output, as long as usual\n", 80))
	l := lines{stream: "stdout"}
	var out []byte
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		out = l.add(out[:0], time.Time{}, chunk)
	}
}
