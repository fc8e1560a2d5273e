package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/mount-utils"
)

// legacyLogs is where the kubelet keeps a link to each container's log for collectors older than the CRI. The folder is
// the machine's, and links would stay behind, so the node makes none.
const legacyLogs = "/var/log/containers/"

// hostOS is the kubelet's view of files, less the links in legacyLogs.
type hostOS struct{ kubecontainer.RealOS }

// Symlink makes a link unless it belongs to legacyLogs.
func (o hostOS) Symlink(target, link string) error {
	if strings.HasPrefix(link, legacyLogs) {
		return nil
	}
	return o.RealOS.Symlink(target, link)
}

// hostUtil leaves the propagation of the node's folder as it is: sharing it would leave a mount behind, and a node that
// serves containerd runs in the machine's mount namespace, where systemd shares everything already.
type hostUtil struct{ hostutil.HostUtils }

// MakeRShared changes nothing.
func (hostUtil) MakeRShared(string) error { return nil }

// wrapped are the folders of volumes that the kubelet writes itself and wraps into a tmpfs.
var wrapped = []string{
	"kubernetes.io~secret", "kubernetes.io~configmap", "kubernetes.io~projected", "kubernetes.io~downward-api",
}

// mounter mounts everything but the tmpfs around volumes that the kubelet writes itself; the package comment says why.
type mounter struct{ mount.Interface }

// MountSensitiveWithoutSystemd is what the kubelet's tmpfs volumes call.
func (m mounter) MountSensitiveWithoutSystemd(source, target, fstype string, options, sensitive []string) error {
	if fstype == "tmpfs" && slices.Contains(wrapped, filepath.Base(filepath.Dir(target))) {
		return nil
	}
	return m.Interface.MountSensitiveWithoutSystemd(source, target, fstype, options, sensitive)
}

// errLateContainerd is what a container's event shows when containerd cannot see one of its mounts.
var errLateContainerd = errors.New("containerd started after this node and cannot see the volume: restart the platform")

// visible returns a check for whether containerd, which lives in the machine's mount namespace, sees a path below root
// as this process does. A process in the machine's own namespace needs no check.
func visible(root string) func(path string) error {
	if !privateMounts() {
		return nil
	}
	return func(path string) error {
		mounts, err := mountsBelow(root)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			if path == m || strings.HasPrefix(path, m+"/") {
				return errLateContainerd
			}
		}
		return nil
	}
}

// privateMounts tells whether this process has another mount namespace than the machine's first process. Who may not
// look at that one is in a user namespace, where containerd is no use.
func privateMounts() bool {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return true
	}
	first, err := os.Readlink("/proc/1/ns/mnt")
	return err != nil || own != first
}

// mountsBelow lists mount points strictly below dir, the deepest last.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	defer f.Close()
	var found []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if point, ok := mountPoint(lines.Text()); ok && strings.HasPrefix(point, dir+"/") {
			found = append(found, point)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	slices.Sort(found)
	return found, nil
}

// mountPoint is the fifth field of a line of mountinfo, where space, tab, newline and backslash are written in octal;
// see proc_pid_mountinfo(5).
func mountPoint(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return "", false
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4]), true
}

// unmountBelow takes away what is mounted below dir. A mount in use goes when its last user does.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if uerr := unix.Unmount(m, unix.MNT_DETACH); uerr != nil {
			err = errors.Join(err, fmt.Errorf("unmounting %q: %w", m, uerr))
		}
	}
	return err
}
