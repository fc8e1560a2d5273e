package node

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	cadvisorapiv2 "github.com/google/cadvisor/info/v2"
	"golang.org/x/sys/unix"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/mount-utils"
)

func TestMountPoint(t *testing.T) {
	cases := []struct{ name, line, want string }{
		{"a plain mount", "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw", "/mnt2"},
		{"a space in the path", `36 35 98:0 / /a\040b\134c rw - tmpfs tmpfs rw`, `/a b\c`},
		{"not a mount", "36 35", ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := mountPoint(tc.line); got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, tc.want)
			}
		})
	}
}

func FuzzMountPoint(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw")
	f.Add(`36 35 98:0 / /a\040b\134c rw - tmpfs tmpfs rw`)
	f.Fuzz(func(t *testing.T, line string) {
		if point, ok := mountPoint(line); !ok && point != "" {
			t.Errorf("a line without a mount point has %q", point)
		}
	})
}

// TestUnmountBelow mounts in a namespace of its own, on a thread that ends with it.
func TestUnmountBelow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	type outcome struct {
		before, after []string
		err           error
	}
	result := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		var o outcome
		o.err = mountSome(dir)
		if o.err == nil {
			o.before, _ = mountsBelow(dir)
			o.err = unmountBelow(dir)
			o.after, _ = mountsBelow(dir)
		}
		result <- o
	}()
	o := <-result
	if o.err != nil || len(o.before) != 3 || len(o.after) != 0 {
		t.Errorf("%v: mounts were %v and are %v", o.err, o.before, o.after)
	}
}

func mountSome(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, name := range []string{"one", "one/inner", "two"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o700), unix.Mount("tmpfs", path, "tmpfs", 0, "size=64k,nr_inodes=8")); err != nil {
			return err
		}
	}
	return nil
}

func TestMounterWrapsNothing(t *testing.T) {
	cases := []struct {
		name, target string
		mounts       int
	}{
		{"a secret is a plain folder", "/n/pods/1/volumes/kubernetes.io~secret/token", 0},
		{"so is a service account's token", "/n/pods/1/volumes/kubernetes.io~projected/kube-api-access", 0},
		{"memory that a pod asked for is memory", "/n/pods/1/volumes/kubernetes.io~empty-dir/shm", 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			fake := mount.NewFakeMounter(nil)
			if err := (mounter{fake}).MountSensitiveWithoutSystemd("tmpfs", tc.target, "tmpfs", nil, nil); err != nil {
				t.Fatal(err)
			}
			if got := len(fake.MountPoints); got != tc.mounts {
				t.Errorf("made %d mounts, want %d", got, tc.mounts)
			}
		})
	}
}

func TestHostOSKeepsOffTheMachinesLogs(t *testing.T) {
	o := hostOS{kubecontainer.RealOS{}}
	link := legacyLogs + "escale-test.log"
	if err := o.Symlink("/nowhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link was made in %s: %v", legacyLogs, err)
	}
	own := filepath.Join(t.TempDir(), "link")
	if err := o.Symlink("/nowhere", own); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(own); err != nil {
		t.Error("a link elsewhere was not made")
	}
}

func TestParseCPU(t *testing.T) {
	cases := []struct {
		name, stat string
		want       time.Duration
		bad        bool
	}{
		{name: "idle and waiting do not count", stat: "cpu  100 10 50 9000 500 5 5 0 7 7\ncpu0 1 1 1 1\n", want: 1700 * time.Millisecond},
		{name: "an old kernel has fewer fields", stat: "cpu 1 2 3 4\n", want: 60 * time.Millisecond},
		{name: "something else", stat: "intr 1 2 3 4 5\n", bad: true},
		{name: "not numbers", stat: "cpu a b c d e\n", bad: true},
		{name: "nothing", bad: true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseCPU([]byte(tc.stat))
			if got != tc.want || (err != nil) != tc.bad {
				t.Errorf("got %s, %v, want %s", got, err, tc.want)
			}
		})
	}
}

func FuzzParseCPU(f *testing.F) {
	f.Add([]byte("cpu  100 10 50 9000 500 5 5 0 7 7\n"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if used, err := parseCPU(stat); err != nil && used != 0 {
			t.Errorf("an error comes with %s", used)
		}
	})
}

func FuzzParseMemory(f *testing.F) {
	f.Add([]byte("MemTotal:       24684092 kB\nHugePages_Total:       0\n"))
	f.Fuzz(func(_ *testing.T, meminfo []byte) { parseMemory(meminfo) })
}

func TestMachine(t *testing.T) {
	m := &machine{node: "node-a", root: t.TempDir()}
	info, err := m.MachineInfo()
	if err != nil || info.NumCores < 1 || info.MemoryCapacity < 1<<20 {
		t.Errorf("the machine has %d cores and %d bytes, %v", info.NumCores, info.MemoryCapacity, err)
	}
	fs, err := m.RootFsInfo()
	if err != nil || fs.Capacity < fs.Available || fs.Device == "" {
		t.Errorf("the file system is %+v, %v", fs, err)
	}
	all, err := m.ContainerInfoV2("/", cadvisorapiv2.RequestOptions{})
	if err != nil || len(all["/"].Stats) != 1 || all["/"].Stats[0].Memory.WorkingSet == 0 {
		t.Errorf("the machine uses %+v, %v", all, err)
	}
	kernel, err := exec.Command("uname", "-r").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := m.VersionInfo()
	if err != nil || version.KernelVersion != strings.TrimSpace(string(kernel)) {
		t.Errorf("the kernel is %q, %v, want %q", version.KernelVersion, err, kernel)
	}
}

func TestReservation(t *testing.T) {
	cases := []struct {
		name                    string
		cpu, memory             int64
		wantCPU, wantMemoryRest int64
	}{
		{name: "what is not the node's is reserved", cpu: 600, memory: 2 << 30, wantCPU: 1400, wantMemoryRest: 6 << 30},
		{name: "no share means the whole machine"},
		{name: "a share larger than the machine is the machine", cpu: 9000, memory: 1 << 40},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cpu, memory := reservation(2000, 8<<30, tc.cpu, tc.memory)
			if cpu != tc.wantCPU || memory != tc.wantMemoryRest {
				t.Errorf("reserved %d and %d, want %d and %d", cpu, memory, tc.wantCPU, tc.wantMemoryRest)
			}
		})
	}
}
