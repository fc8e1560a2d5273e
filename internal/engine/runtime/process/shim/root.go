package shim

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ImageDir is where a container sees the files of its image.
const ImageDir = "/app"

const (
	readOnly = unix.MOUNT_ATTR_RDONLY
	// harmless keeps set-user-id programs and device nodes of the machine, of images and of volumes from working.
	harmless = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// machineDirs are the folders of the machine a container sees, besides those whose name starts with "lib". The last
// one is where NixOS keeps everything.
var machineDirs = []string{"bin", "sbin", "usr", "etc", "opt", "nix"}

// ownDirs exist empty in every container.
var ownDirs = []string{"app", "dev", "home", "mnt", "proc", "root", "run", "run/lock", "srv", "sys", "tmp", "var"}

var deviceNames = []string{"null", "zero", "full", "random", "urandom", "tty"}

var deviceLinks = map[string]string{
	"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}

// build makes the container's root in this process's mount namespace and switches to it.
func (r *Root) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return wrap("taking the mounts apart from the machine's", err)
	}
	if err := mount("tmpfs", r.Staging, unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return err
	}
	for _, step := range []func() error{r.folders, r.machine, r.scratch, r.image, r.kernel, r.devices} {
		if err := step(); err != nil {
			return err
		}
	}
	volumes, err := r.openVolumes()
	if err != nil {
		return err
	}
	if err := switchRoot(r.Staging); err != nil {
		return err
	}
	if err := attachAll(volumes); err != nil {
		return err
	}
	return r.protect()
}

func (r *Root) at(path string) string { return r.Staging + "/" + path }

func (r *Root) folders() error {
	for _, d := range ownDirs {
		if err := os.Mkdir(r.at(d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(r.at("root"), 0o700); err != nil {
		return err
	}
	return os.Chmod(r.at("run/lock"), os.ModeSticky|0o777)
}

// machine shows the programs and libraries of the machine, and recreates links such as /bin.
func (r *Root) machine() error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !fromMachine(e.Name()) {
			continue
		}
		if err := r.show(e); err != nil {
			return err
		}
	}
	return nil
}

func fromMachine(name string) bool {
	for _, d := range machineDirs {
		if name == d {
			return true
		}
	}
	return strings.HasPrefix(name, "lib")
}

func (r *Root) show(e fs.DirEntry) error {
	path := "/" + e.Name()
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return os.Symlink(target, r.at(e.Name()))
	case e.IsDir():
		if err := os.Mkdir(r.at(e.Name()), 0o755); err != nil {
			return err
		}
		return bind(path, r.at(e.Name()), readOnly|harmless)
	}
	return nil
}

// scratch shows /tmp and /var, which are on disk: in memory they would count against the container's limit.
func (r *Root) scratch() error {
	for _, d := range []string{"tmp", "var"} {
		if err := bind(r.Scratch+"/"+d, r.at(d), harmless|r.protection()); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) protection() uint64 {
	if r.ReadOnly {
		return readOnly
	}
	return 0
}

func (r *Root) image() error {
	if r.Image == "" {
		return nil
	}
	return bind(r.Image, r.at("app"), readOnly|harmless)
}

// kernel shows /proc and /sys. Where the kernel refuses fresh ones, because those of the surrounding container hide
// something, the surrounding ones are shown.
func (r *Root) kernel() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if mount("proc", r.at("proc"), flags, "") != nil {
		if err := bind("/proc", r.at("proc"), 0); err != nil {
			return err
		}
	}
	ro := uintptr(unix.MS_RDONLY)
	if r.Privileged {
		ro = 0
	}
	if !r.OwnNetwork || mount("sysfs", r.at("sys"), flags|ro, "") != nil {
		if err := bind("/sys", r.at("sys"), readOnly); err != nil {
			return err
		}
	}
	return r.showCgroups()
}

// showCgroups lets programs read their own limits, as language runtimes do when they size themselves.
func (r *Root) showCgroups() error {
	if len(r.Cgroups) == 0 {
		return nil
	}
	base := r.at("sys/fs/cgroup")
	if unified, ok := r.Cgroups[""]; ok {
		return bind(unified, base, readOnly|harmless)
	}
	if err := mount("tmpfs", base, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return err
	}
	for name, dir := range r.Cgroups {
		if err := os.Mkdir(base+"/"+name, 0o755); err != nil {
			return err
		}
		if err := bind(dir, base+"/"+name, readOnly|harmless); err != nil {
			return err
		}
	}
	return nil
}

// devices makes /dev. Nodes are bound rather than made, which works in a user namespace too.
func (r *Root) devices() error {
	dev := r.at("dev")
	if r.Privileged {
		if err := bind("/dev", dev, 0); err != nil {
			return err
		}
	} else if err := r.minimalDevices(dev); err != nil {
		return err
	}
	return mountDeviceFolders(dev)
}

func (r *Root) minimalDevices(dev string) error {
	if err := mount("tmpfs", dev, unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return err
	}
	nodes := r.Devices
	for _, n := range deviceNames {
		nodes = append(nodes, Mount{Source: "/dev/" + n, Destination: "/dev/" + n})
	}
	for _, n := range nodes {
		if err := r.showDevice(n); err != nil {
			return err
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, dev+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) showDevice(m Mount) error {
	rel, ok := strings.CutPrefix(m.Destination, "/dev/")
	if !ok || strings.Contains(rel, "..") {
		return errors.New("device " + strconv.Quote(m.Destination) + ": is not below /dev")
	}
	path := r.at("dev/" + rel)
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
		return err
	}
	if err := touch(path); err != nil {
		return err
	}
	var attrs uint64
	if m.ReadOnly {
		attrs = readOnly
	}
	return bind(m.Source, path, attrs)
}

func mountDeviceFolders(dev string) error {
	for _, d := range []string{"pts", "shm"} {
		if err := os.Mkdir(dev+"/"+d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	// Group 5 is "tty"; it does not exist in a user namespace with a single id.
	if mount("devpts", dev+"/pts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5") != nil {
		if err := mount("devpts", dev+"/pts", flags, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
			return err
		}
	}
	return mount("tmpfs", dev+"/shm", flags|unix.MS_NODEV, "mode=1777,size=64m")
}

func switchRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return wrap("entering the new root", err)
	}
	// The old root ends up stacked on the new one and is then taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return wrap("switching the root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return wrap("leaving the old root", err)
	}
	return unix.Chdir("/")
}

// protect hides and locks what the container must not see or change.
func (r *Root) protect() error {
	for _, p := range r.Masked {
		if err := mask(p); err != nil {
			return wrap("masking "+strconv.Quote(p), err)
		}
	}
	for _, p := range r.ReadOnlyPaths {
		if err := bind(p, p, readOnly); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if r.ReadOnly {
		return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: readOnly})
	}
	return nil
}

func mask(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // not there: nothing to hide
	}
	if info.IsDir() {
		return mount("tmpfs", path, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=0k")
	}
	return bind("/dev/null", path, 0)
}

func isReadOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

func touch(path string) error {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return wrap("creating "+strconv.Quote(path), err)
	}
	return unix.Close(fd)
}

func mount(kind, path string, flags uintptr, options string) error {
	if err := unix.Mount(kind, path, kind, flags, options); err != nil {
		return wrap("mounting "+kind+" on "+strconv.Quote(path), err)
	}
	return nil
}

func bind(source, path string, attrs uint64) error {
	tree, err := openTree(source, attrs)
	if err != nil {
		return err
	}
	return attach(tree, path)
}

// openTree takes a copy of the mounts at source. Changing attributes by mount_setattr keeps those a surrounding user
// namespace has locked, which a classic remount does not.
func openTree(source string, attrs uint64) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, wrap("opening "+strconv.Quote(source), err)
	}
	attr := &unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return -1, wrap("protecting "+strconv.Quote(source), err)
	}
	return tree, nil
}

func attach(tree int, path string) error {
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return wrap("mounting on "+strconv.Quote(path), err)
	}
	return unix.Close(tree)
}
