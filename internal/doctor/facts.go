package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
)

// Facts are what Judge needs to know of a machine.
type Facts struct {
	// Now is the time by the machine's clock; NotBefore the time of the newest file it must be after.
	Now, NotBefore time.Time
	// Root says that the caller is root.
	Root bool
	// UserNamespaces is empty where an ordinary user may make them, else why not.
	UserNamespaces string
	// Overlay says that the kernel lists overlayfs.
	Overlay bool
	// Nft is the program nft.
	Nft Program
	// Cgroup says how resources can be limited.
	Cgroup Cgroup
	// Ports are those the platform listens on unless told otherwise.
	Ports []Port
	// Dir is the data directory.
	Dir Dir
	// Network is the prefix the platform uses unless told otherwise; NetworkConflict is what else uses it.
	Network, NetworkConflict string
	// ForwardDrop are the chains of other firewalls that drop forwarded packets.
	ForwardDrop []string
	// Containerd and what it needs.
	Containerd Containerd
	// Programs are paths by name; missing ones are empty.
	Programs map[string]string
	// Platform is the one of the data directory.
	Platform Platform
}

// Program is a program and why it does not work.
type Program struct{ Program, Problem string }

// Cgroup is the version (1, 2; 0 for none) and the controllers that the caller may use.
type Cgroup struct {
	Version  int
	Writable []string
}

// Port is a port and why it cannot be listened on.
type Port struct {
	Name    string
	Port    int
	Problem string
}

// Dir is a folder, its free bytes, and why it cannot be written.
type Dir struct {
	Path    string
	Free    uint64
	Problem string
}

// Containerd is which of its parts are there.
type Containerd struct{ Installed, Socket, Runc, Plugins bool }

// Platform is the state of the platform; Problem is why it failed or does not answer.
type Platform struct{ State, Problem string }

func (p Platform) running() bool { return p.State == "ready" || p.State == "starting" }

// Options say what Gather cannot find out by itself.
type Options struct {
	// Dir is the data directory.
	Dir engine.Dir
	// Platform is its platform.
	Platform Platform
	// Conflict says what else uses the network of a plan; nil where nothing does.
	Conflict func(engine.Network) error
}

// Gather looks at the machine.
func Gather(ctx context.Context, o Options) Facts {
	f := Facts{
		Now: time.Now(), NotBefore: newest(executable(), o.Dir.StateFile(), o.Dir.Kubeconfig()), Root: os.Geteuid() == 0,
		UserNamespaces: userNamespaces(read), Overlay: hasOverlay(read("/proc/filesystems")), Nft: findNft(ctx),
		Cgroup: gatherCgroup("/sys/fs/cgroup"), Dir: gatherDir(string(o.Dir)), Network: engine.DefaultNetwork,
		ForwardDrop: gatherForwardDrop(ctx), Platform: o.Platform, Programs: map[string]string{},
		Containerd: Containerd{
			Installed: find("containerd") != "", Socket: exists("/run/containerd/containerd.sock"), Runc: find("runc") != "",
			Plugins: exists("/opt/cni/bin/bridge") || exists("/usr/lib/cni/bridge"),
		},
	}
	for _, name := range []string{"go", "python3", "redis-server"} {
		f.Programs[name] = find(name)
	}
	for _, p := range []Port{{Name: "api", Port: 6443}, {Name: "gateway", Port: 8080}, {Name: "portal", Port: 7080}, {Name: "registry", Port: 5050}} {
		f.Ports = append(f.Ports, tryPort(p))
	}
	if plan, err := engine.NewNetwork(engine.DefaultNetwork); err == nil {
		if err := o.Conflict(plan); err != nil {
			f.NetworkConflict = err.Error()
		}
	}
	return f
}

// read is a file's content, empty where it cannot be read: a machine lacks most of the files asked for.
func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// find is a program's path. Debian keeps some where the search path of ordinary users does not lead.
func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/go/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

func newest(paths ...string) time.Time {
	var t time.Time
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t
}

// userNamespaces says why an ordinary user may not make user namespaces; empty where it may, as far as the kernel tells.
func userNamespaces(read func(string) string) string {
	switch {
	case read("/proc/sys/user/max_user_namespaces") == "0":
		return "user namespaces are switched off (user.max_user_namespaces is 0)"
	case read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are kept for root (kernel.unprivileged_userns_clone is 0)"
	case read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)"
	}
	return ""
}

func hasOverlay(filesystems string) bool {
	for line := range strings.Lines(filesystems) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "overlay" {
			return true
		}
	}
	return false
}

// toolTime is how long a program of the machine may take to answer.
const toolTime = 3 * time.Second

func output(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	return exec.CommandContext(ctx, program, args...).Output()
}

// findNft finds nft and, as root, asks it for the tables, which needs the kernel's part.
func findNft(ctx context.Context) Program {
	p := Program{Program: find("nft")}
	if p.Program == "" || os.Geteuid() != 0 {
		return p
	}
	if _, err := output(ctx, p.Program, "list", "tables"); err != nil {
		p.Problem = err.Error()
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			p.Problem = strings.Join(strings.Fields(string(exit.Stderr)), " ")
		}
	}
	return p
}

// gatherForwardDrop asks nft and iptables, which both need root.
func gatherForwardDrop(ctx context.Context) []string {
	var out []string
	if os.Geteuid() != 0 {
		return nil
	}
	if nft := find("nft"); nft != "" {
		if b, err := output(ctx, nft, "-j", "list", "chains"); err == nil {
			out = append(out, dropChains(b)...)
		}
	}
	// Rules of the older kind are not nft's to see.
	if legacy := find("iptables-legacy"); legacy != "" {
		if b, err := output(ctx, legacy, "-S", "FORWARD"); err == nil && strings.HasPrefix(string(b), "-P FORWARD DROP") {
			out = append(out, "iptables-legacy's chain FORWARD")
		}
	}
	return out
}

// gatherCgroup finds the version and the controllers the caller may use.
func gatherCgroup(root string) Cgroup {
	if list := read(filepath.Join(root, "cgroup.controllers")); list != "" || exists(filepath.Join(root, "cgroup.controllers")) {
		c := Cgroup{Version: 2}
		if writable(root) {
			c.Writable = strings.Fields(list)
		}
		return c
	}
	var c Cgroup
	for _, name := range wantControllers {
		if exists(filepath.Join(root, name, "tasks")) {
			c.Version = 1
			if writable(filepath.Join(root, name)) {
				c.Writable = append(c.Writable, name)
			}
		}
	}
	return c
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

// gatherDir looks at a folder that may not exist yet: its nearest ancestor that does will hold it.
func gatherDir(path string) Dir {
	d := Dir{Path: path}
	place := path
	for !exists(place) && filepath.Dir(place) != place {
		place = filepath.Dir(place)
	}
	if err := tryWrite(place); err != nil {
		d.Problem = cause(err)
		return d
	}
	var s unix.Statfs_t
	if err := unix.Statfs(place, &s); err != nil {
		d.Problem = cause(err)
		return d
	}
	d.Free = s.Bavail * uint64(s.Bsize)
	return d
}

func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".escale-doctor-*")
	if err != nil {
		return err
	}
	name := f.Name()
	return errors.Join(f.Close(), os.Remove(name))
}

// cause is an error of the file system without the path, which the finding names.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

func tryPort(p Port) Port {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)))
	if err != nil {
		p.Problem = "in use"
		if !errors.Is(err, unix.EADDRINUSE) {
			p.Problem = fmt.Sprint(errors.Unwrap(err))
		}
		return p
	}
	_ = l.Close()
	return p
}

// sorted takes duplicates out of a list of names.
func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
