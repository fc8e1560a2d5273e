package process

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

func TestAddressesRotate(t *testing.T) {
	// Eight addresses: the network's, the node's, the broadcast, and five for pods.
	a := newAddresses(netip.MustParsePrefix("10.0.0.0/29"), 6, netip.MustParseAddr("10.0.0.1"))
	var got []string
	take := func() netip.Addr {
		addr, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, addr.String())
		return addr
	}
	first := take()
	a.release(first) // the last to come back
	for range 5 {
		take()
	}
	want := []string{"10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if addr, err := a.take(); err == nil {
		t.Errorf("an address in use was given out: %s", addr)
	}
}

func TestAddressesNeverLeaveThePrefix(t *testing.T) {
	for _, offset := range []uint32{0, 1, 1023, 1 << 31, 1<<32 - 1} {
		a := newAddresses(testPods, offset, testNode)
		seen := map[netip.Addr]bool{}
		for {
			addr, err := a.take()
			if err != nil {
				break
			}
			if !testPods.Contains(addr) || seen[addr] || addr == testNode {
				t.Fatalf("offset %d: got %s", offset, addr)
			}
			seen[addr] = true
		}
		if len(seen) != 1021 {
			t.Errorf("offset %d: %d addresses", offset, len(seen))
		}
	}
}

func TestResolvConf(t *testing.T) {
	for name, tc := range map[string]struct {
		dns  *runtimeapi.DNSConfig
		want string
	}{
		"none": {nil, ""},
		"cluster first": {
			&runtimeapi.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"a", "b"}, Options: []string{"ndots:5", "edns0"}},
			"nameserver 10.43.0.10\nsearch a b\noptions ndots:1 edns0\n",
		},
		"the user's own number": {&runtimeapi.DNSConfig{Options: []string{"ndots:2"}}, "options ndots:2\n"},
	} {
		if got := resolvConf(tc.dns); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, tc := range map[string]struct {
		chunks []string
		want   string
	}{
		"whole":             {[]string{"a\nb\n"}, "T out F a\nT out F b\n"},
		"in pieces":         {[]string{"a", "b\nc", "\n"}, "T out F ab\nT out F c\n"},
		"without an end":    {[]string{"a"}, "T out F a\n"},
		"empty line":        {[]string{"\n"}, "T out F \n"},
		"just fits":         {[]string{long + "\n"}, "T out F " + long + "\n"},
		"fits in pieces":    {[]string{long[1:], "x", "\n"}, "T out F " + long + "\n"},
		"one too many":      {[]string{long + "y\n"}, "T out P " + long + "\nT out F y\n"},
		"twice as long":     {[]string{long, long, "z"}, "T out P " + long + "\nT out P " + long + "\nT out F z\n"},
		"nothing":           {nil, ""},
		"no text, then end": {[]string{""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
			l := lines{stream: "out"}
			var got []byte
			for _, c := range tc.chunks {
				got = l.add(got, at, []byte(c))
			}
			got = l.flush(got, at)
			want := strings.ReplaceAll(tc.want, "T out", at.Format(time.RFC3339Nano)+" out")
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However output is cut into chunks, the parts of a line joined are the line.
func FuzzLines(f *testing.F) {
	f.Add("a\nb", uint16(1))
	f.Add(strings.Repeat("x", 3*maxLine)+"\n", uint16(maxLine))
	f.Fuzz(func(t *testing.T, text string, size uint16) {
		l := lines{stream: "stdout"}
		var entries []byte
		for chunk := range slices.Chunk([]byte(text), int(size)+1) {
			entries = l.add(entries, time.Unix(0, 0).UTC(), chunk)
		}
		entries = l.flush(entries, time.Unix(0, 0).UTC())
		var joined strings.Builder
		for entry := range strings.Lines(string(entries)) {
			head, body, _ := strings.Cut(strings.TrimSuffix(entry, "\n"), " stdout ")
			if head != "1970-01-01T00:00:00Z" || len(body) < 2 || len(body)-2 > maxLine {
				t.Fatalf("entry %q", entry)
			}
			joined.WriteString(body[2:])
			if body[0] == 'F' {
				joined.WriteByte('\n')
			}
		}
		want := text
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if joined.String() != want {
			t.Fatalf("got %q, want %q", joined.String(), want)
		}
	})
}

func TestArguments(t *testing.T) {
	image := imageRecord{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for name, tc := range map[string]struct {
		command, args []string
		image         imageRecord
		want          []string
	}{
		"image":            {nil, nil, image, []string{"entry", "cmd"}},
		"arguments":        {nil, []string{"a"}, image, []string{"entry", "a"}},
		"command":          {[]string{"c"}, nil, image, []string{"c"}},
		"both":             {[]string{"c"}, []string{"a"}, image, []string{"c", "a"}},
		"only an argument": {nil, []string{"a"}, imageRecord{}, []string{"a"}},
		"nothing":          {nil, nil, imageRecord{}, nil},
	} {
		got, err := arguments(&runtimeapi.ContainerConfig{Command: tc.command, Args: tc.args}, tc.image)
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) == (tc.want == nil) {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestEnvironment(t *testing.T) {
	c := &runtimeapi.ContainerConfig{Envs: []*runtimeapi.KeyValue{{Key: "A", Value: []byte("pod")}, {Key: "HOST", Value: []byte("::")}}}
	got := environment(c, imageRecord{Env: []string{"A=image", "B=image", "PATH=/x"}}, "name", 1000)
	want := []string{"PATH=/x", "HOME=/tmp", "HOSTNAME=name", "HOST=::", "A=pod", "B=image"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		context *runtimeapi.LinuxContainerSecurityContext
		image   string
		want    shim.User
		wrong   string
	}{
		"nobody asks":     {nil, "", shim.User{}, ""},
		"image":           {nil, "12:34", shim.User{UID: 12, GID: 34}, ""},
		"pod over image":  {&runtimeapi.LinuxContainerSecurityContext{RunAsUser: value64(5)}, "12:34", shim.User{UID: 5}, ""},
		"group":           {&runtimeapi.LinuxContainerSecurityContext{RunAsGroup: value64(6)}, "12", shim.User{UID: 12, GID: 6}, ""},
		"name":            {nil, "postgres", shim.User{}, "runAsUser"},
		"group's name":    {nil, "1:staff", shim.User{}, "runAsGroup"},
		"too big":         {nil, "4294967295", shim.User{}, "runAsUser"},
		"name in the pod": {&runtimeapi.LinuxContainerSecurityContext{RunAsUsername: "bob"}, "", shim.User{}, "bob"},
	} {
		got, err := identity(tc.context, imageRecord{User: tc.image})
		if tc.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%s: got error %v", name, err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestCapabilities(t *testing.T) {
	add := func(add, drop []string) *runtimeapi.LinuxContainerSecurityContext {
		return &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: add, DropCapabilities: drop}}
	}
	for name, tc := range map[string]struct {
		context *runtimeapi.LinuxContainerSecurityContext
		uid     int
		want    uint64
	}{
		"root":           {nil, 0, defaultCapabilities},
		"another":        {add([]string{"SYS_ADMIN"}, nil), 1, 0},
		"drop all":       {add([]string{"CAP_KILL"}, []string{"ALL"}), 0, 1 << unix.CAP_KILL},
		"add all":        {add([]string{"all"}, []string{"KILL"}), 0, allCapabilities &^ (1<<unix.CAP_KILL | 1<<unix.CAP_MKNOD)},
		"no device node": {add([]string{"MKNOD"}, nil), 0, defaultCapabilities},
		"last one":       {add([]string{"CHECKPOINT_RESTORE"}, []string{"ALL"}), 0, 1 << unix.CAP_CHECKPOINT_RESTORE},
		"privileged":     {&runtimeapi.LinuxContainerSecurityContext{Privileged: true}, 1, allCapabilities},
	} {
		got, err := capabilities(tc.context, tc.uid)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %x, want %x, %v", name, got, tc.want, err)
		}
	}
	if _, err := capabilities(add([]string{"FLY"}, nil), 0); err == nil {
		t.Error("an unknown capability was accepted")
	}
}

func TestMountsAreSortedAndChecked(t *testing.T) {
	got, err := mounts(&runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{
		{ContainerPath: "/a/b/c", HostPath: "1"}, {ContainerPath: "/a/", HostPath: "2", Readonly: true}, {ContainerPath: "a/b", HostPath: "3"},
	}})
	want := []shim.Mount{
		{Source: "2", Destination: "/a", ReadOnly: true}, {Source: "3", Destination: "/a/b"}, {Source: "1", Destination: "/a/b/c"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, path := range []string{"/", "/proc", "/a/../proc/sys", "/.."} {
		if _, err := mounts(&runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{ContainerPath: path}}}); err == nil {
			t.Errorf("mount at %q was accepted", path)
		}
	}
}

func TestStopSignal(t *testing.T) {
	for name, tc := range map[string]struct {
		pod   runtimeapi.Signal
		image string
		want  unix.Signal
	}{
		"default":   {0, "", unix.SIGTERM},
		"image":     {0, "SIGQUIT", unix.SIGQUIT},
		"short":     {0, "quit", unix.SIGQUIT},
		"number":    {0, "3", unix.SIGQUIT},
		"pod":       {runtimeapi.Signal_SIGINT, "SIGQUIT", unix.SIGINT},
		"real time": {0, "SIGRTMIN+3", 37},
		"API's own": {runtimeapi.Signal_SIGRTMINPLUS3, "", 37},
		"nonsense":  {0, "whatever", unix.SIGTERM},
	} {
		c := &runtimeapi.ContainerConfig{StopSignal: tc.pod}
		if got := stopSignal(c, imageRecord{StopSignal: tc.image}); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestIDMap(t *testing.T) {
	whole, err := parseIDMap("         0          0 4294967295\n")
	if err != nil || whole.single() || !whole.allows(shim.User{UID: 65534, GID: 1, Groups: []int{7}}) {
		t.Errorf("whole machine: %v %v", whole, err)
	}
	one, err := parseIDMap("0 1000 1\n")
	if err != nil || !one.single() || one.allows(shim.User{UID: 1}) || one.allows(shim.User{Groups: []int{5}}) {
		t.Errorf("single id: %v %v", one, err)
	}
	two, err := parseIDMap("0 1000 1\n1 100000 65535\n")
	if err != nil || two.single() || !two.has(65535) || two.has(65536) {
		t.Errorf("two ranges: %v %v", two, err)
	}
	if _, err := parseIDMap("0 x\n"); err == nil {
		t.Error("nonsense was accepted")
	}
}

func TestCPUSample(t *testing.T) {
	at := time.Unix(100, 0)
	s := cpuSample{at: at.Add(-4 * time.Second)}.advance(at, time.Second)
	if s.rate != 250_000_000 {
		t.Errorf("since the start: rate %d", s.rate)
	}
	s = s.advance(at.Add(2*time.Second), 2*time.Second)
	if s.rate != 500_000_000 {
		t.Errorf("half a core: rate %d", s.rate)
	}
	if again := s.advance(at.Add(2*time.Second+time.Millisecond), 2*time.Second); again != s {
		t.Errorf("too soon: %v", again)
	}
}

func TestParseProcStat(t *testing.T) {
	got, err := parseProcStat("7 (a) b ) S 1 7 7 0 -1 4194560 11 0 12 0 100 50 3 2 20 0 1 0 5 1000 6 1844")
	if err != nil || got.cpu != 1550*time.Millisecond || got.faults != 11 || got.majorFaults != 12 || got.rss == 0 {
		t.Errorf("got %+v %v", got, err)
	}
	if _, err := parseProcStat("nonsense"); err == nil {
		t.Error("nonsense was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("7 (a) b ) S 1 7 7 0 -1 4194560 11 0 12 0 100 50 3 2 20 0 1 0 5 1000 6 1844")
	f.Add("0 0 4294967295\n")
	f.Add("anon 12\nfile x\n")
	f.Add(`[{"digest":"sha256:1","names":["a"]}]`)
	f.Add("SIGRTMINPLUS3")
	f.Add("12:34")
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = parseProcStat(s)
		_, _ = parseIDMap(s)
		_, _ = parseUser(s)
		_ = parseTable([]byte(s))
		_ = parseSignal(s)
		records, err := parseIndex([]byte(s))
		if err == nil {
			_ = findRecord(records, s)
		}
	})
}

func TestMergeMovesNames(t *testing.T) {
	old := []imageRecord{{Digest: "1", Names: []string{"a", "b"}, Size: 7}}
	got := merge(old, imageRecord{Digest: "2", Names: []string{"a"}})
	got = merge(got, imageRecord{Digest: "1", Names: []string{"c"}})
	want := []imageRecord{{Digest: "2", Names: []string{"a"}}, {Digest: "1", Names: []string{"b", "c"}, Size: 7}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
