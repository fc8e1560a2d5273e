package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine"
)

// good is a machine that lacks nothing.
func good() Facts {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return Facts{
		Now: now, NotBefore: now.Add(-time.Hour), Root: true, Overlay: true, Nft: Program{Program: "/usr/sbin/nft"},
		Cgroup: Cgroup{2, []string{"cpu", "memory", "pids"}},
		Ports:  []Port{{Name: "api", Port: 6443}, {Name: "gateway", Port: 8080}},
		Dir:    Dir{Path: "/var/lib/escale", Free: 8 << 30}, Network: engine.DefaultNetwork,
		Containerd: Containerd{true, true, true, true},
		Programs:   map[string]string{"go": "/usr/bin/go", "python3": "/usr/bin/python3", "redis-server": "/usr/bin/redis-server"},
	}
}

func TestJudgeGoodMachine(t *testing.T) {
	for _, f := range Judge(good()) {
		if f.Level != OK || f.Next != "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Facts)
		check  string
		level  Level
		says   string
	}{
		"user without namespaces": {func(f *Facts) { f.Root, f.UserNamespaces = false, "they are off" }, "privileges", Failed, "they are off"},
		"user":                    {func(f *Facts) { f.Root = false }, "privileges", Warning, "private network"},
		"no nft":                  {func(f *Facts) { f.Nft.Program = "" }, "nftables", Failed, "apt-get install nftables"},
		"no nft in the kernel":    {func(f *Facts) { f.Nft.Problem = "Operation not supported" }, "nftables", Failed, "modprobe nf_tables"},
		"no overlay":              {func(f *Facts) { f.Overlay = false }, "overlayfs", Warning, "modprobe overlay"},
		"no cgroups":              {func(f *Facts) { f.Cgroup = Cgroup{} }, "cgroups", Warning, "not limited"},
		"a controller short":      {func(f *Facts) { f.Cgroup.Writable = []string{"cpu"} }, "cgroups", Warning, "memory, pids cannot be used"},
		"clock in the past":       {func(f *Facts) { f.Now = f.Now.AddDate(-10, 0, 0) }, "clock", Failed, "2016-07-01"},
		"clock a little behind":   {func(f *Facts) { f.NotBefore = f.Now.Add(time.Minute) }, "clock", OK, ""},
		"read-only disk":          {func(f *Facts) { f.Dir.Problem = "read-only file system" }, "data directory", Failed, "--data-dir"},
		"little space":            {func(f *Facts) { f.Dir.Free = 1 << 30 }, "disk space", Warning, "1.0 GiB free"},
		"port in use":             {func(f *Facts) { f.Ports[1].Problem = "in use" }, "ports", Failed, "--gateway-port 0"},
		"port in use by the platform": {
			func(f *Facts) { f.Ports[1].Problem, f.Platform.State = "in use", "ready" }, "ports", OK, "running platform",
		},
		"network in use":           {func(f *Facts) { f.NetworkConflict = "overlaps eth0" }, "network", Failed, "overlaps eth0"},
		"docker":                   {func(f *Facts) { f.ForwardDrop = []string{"chain FORWARD of table ip filter"} }, "other firewalls", Warning, "-s 10.42.0.0/15"},
		"no containerd":            {func(f *Facts) { f.Containerd = Containerd{} }, "containerd", Warning, "apt-get install containerd"},
		"containerd stopped":       {func(f *Facts) { f.Containerd.Socket = false }, "containerd", Warning, "systemctl start containerd"},
		"containerd alone":         {func(f *Facts) { f.Containerd = Containerd{Socket: true} }, "containerd", Warning, "runc and containernetworking-plugins"},
		"no redis":                 {func(f *Facts) { delete(f.Programs, "redis-server") }, "redis-server", Warning, "apt-get install redis-server"},
		"platform does not answer": {func(f *Facts) { f.Platform = Platform{"ready", "nothing listens"} }, "platform", Warning, "platform.log"},
		"platform failed":          {func(f *Facts) { f.Platform = Platform{"failed", "no space"} }, "platform", Warning, "no space"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := good()
			tt.change(&facts)
			findings := Judge(facts)
			for _, f := range findings {
				if f.Name != tt.check {
					continue
				}
				if f.Level != tt.level || !strings.Contains(f.Message+" "+f.Next, tt.says) {
					t.Errorf("got %+v, want %s with %q", f, tt.level, tt.says)
				}
				if (f.Level == OK) != (f.Next == "") {
					t.Errorf("%+v: what is not ok needs a next step, and only that", f)
				}
			}
			if Healthy(findings) != (tt.level != Failed) {
				t.Errorf("Healthy is %v", Healthy(findings))
			}
		})
	}
}

func TestUserNamespaces(t *testing.T) {
	for name, tt := range map[string]struct{ file, value, want string }{
		"allowed":  {"/proc/sys/user/max_user_namespaces", "15000", ""},
		"off":      {"/proc/sys/user/max_user_namespaces", "0", "max_user_namespaces is 0"},
		"debian":   {"/proc/sys/kernel/unprivileged_userns_clone", "0", "kept for root"},
		"apparmor": {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"},
	} {
		t.Run(name, func(t *testing.T) {
			got := userNamespaces(func(path string) string {
				if path == tt.file {
					return tt.value
				}
				return ""
			})
			if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHasOverlay(t *testing.T) {
	if !hasOverlay("nodev\tsysfs\nnodev\toverlay\n\text4\n") || hasOverlay("nodev\toverlayx\n\text4\n") || hasOverlay("") {
		t.Error("wrong")
	}
}

const docker = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}},
{"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}},
{"chain": {"family": "ip", "table": "escale", "name": "forward", "hook": "forward", "policy": "drop"}},
{"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}}]}`

func TestDropChains(t *testing.T) {
	if got, want := dropChains([]byte(docker)), []string{"chain FORWARD of table ip filter"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzDropChains(f *testing.F) {
	f.Add([]byte(docker))
	f.Add([]byte(`{"nftables": [{"chain": null}]}`))
	f.Fuzz(func(_ *testing.T, b []byte) { dropChains(b) })
}

func TestGatherCgroup(t *testing.T) {
	one := t.TempDir()
	for _, c := range []string{"cpu", "memory"} {
		if err := os.Mkdir(filepath.Join(one, c), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(one, c, "tasks"), "")
	}
	two := t.TempDir()
	write(t, filepath.Join(two, "cgroup.controllers"), "cpuset cpu memory pids\n")
	for name, tt := range map[string]struct {
		root string
		want Cgroup
	}{
		"none": {t.TempDir(), Cgroup{}},
		"one":  {one, Cgroup{1, []string{"cpu", "memory"}}},
		"two":  {two, Cgroup{2, []string{"cpuset", "cpu", "memory", "pids"}}},
	} {
		if got := gatherCgroup(tt.root); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGatherDir(t *testing.T) {
	dir := t.TempDir()
	if d := gatherDir(filepath.Join(dir, "a", "b")); d.Problem != "" || d.Free == 0 {
		t.Errorf("a folder to be made: got %+v", d)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	file := filepath.Join(dir, "file")
	write(t, file, "")
	if d := gatherDir(filepath.Join(file, "b")); d.Problem != "not a directory" {
		t.Errorf("below a file: got %+v", d)
	}
}

func TestTryPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if got := tryPort(Port{Port: port}).Problem; got != "in use" {
		t.Errorf("a port in use: got %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := tryPort(Port{Port: port}).Problem; got != "" {
		t.Errorf("a free port: got %q", got)
	}
}

func TestGather(t *testing.T) {
	f := Gather(t.Context(), Options{
		Dir: engine.Dir(filepath.Join(t.TempDir(), "data")), Conflict: func(engine.Network) error { return errors.New("overlaps") },
	})
	if f.NetworkConflict != "overlaps" || len(f.Ports) != 4 || f.Dir.Problem != "" || f.Now.IsZero() || f.NotBefore.IsZero() {
		t.Errorf("got %+v", f)
	}
}
