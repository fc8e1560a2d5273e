package shim

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// volume is a mount whose source was opened before the root was switched.
type volume struct {
	Mount
	tree int
}

func (r *Root) openVolumes() ([]volume, error) {
	var volumes []volume
	for _, m := range r.Mounts {
		attrs := uint64(0)
		if m.ReadOnly {
			attrs |= readOnly
		}
		if !r.Privileged {
			attrs |= harmless
		}
		tree, err := openTree(m.Source, attrs)
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, volume{m, tree})
	}
	return volumes, nil
}

// attachAll runs inside the new root: no path leads out of it any more.
func attachAll(volumes []volume) error {
	missing := map[string][]volume{}
	for _, v := range volumes {
		path, exists, err := resolve("", v.Destination)
		if err != nil {
			return wrap("mount "+strconv.Quote(v.Destination), err)
		}
		if top := topFolder(path); !exists && !v.Optional && top != "" && isReadOnly("/"+top) && !below(volumes, v, path) {
			missing[top] = append(missing[top], v)
		}
	}
	for top, vs := range missing {
		if err := extend(top, vs); err != nil {
			return err
		}
	}
	for _, v := range volumes {
		if err := v.attach(); err != nil {
			return err
		}
	}
	return nil
}

// below says whether another volume holds the mount point, which then is made there.
func below(volumes []volume, v volume, path string) bool {
	for _, o := range volumes {
		if o.tree == v.tree {
			return false
		}
		if strings.HasPrefix(path, strings.TrimSuffix(o.Destination, "/")+"/") {
			return true
		}
	}
	return false
}

func topFolder(path string) string {
	top, _, found := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !found {
		return ""
	}
	return top
}

// extend lays a skeleton of mount points under a read-only folder by an overlay without an upper layer, which needs
// neither space nor extended attributes. Mounts below that folder are not visible through it.
func extend(top string, volumes []volume) error {
	const skeleton = "/run/.mountpoints"
	if err := os.MkdirAll(skeleton, 0o755); err != nil {
		return err
	}
	if err := mount("tmpfs", skeleton, unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, v := range volumes {
		path, _, err := resolve("", v.Destination)
		if err != nil {
			return err
		}
		if err := makePoint(skeleton+path, v.tree); err != nil {
			return err
		}
	}
	options := "lowerdir=" + skeleton + "/" + top + ":/" + top
	if err := mount("overlay", "/"+top, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return err
	}
	// The overlay keeps what it needs; nobody else needs to see it.
	if err := unix.Unmount(skeleton, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove(skeleton)
}

func (v volume) attach() error {
	path, exists, err := resolve("", v.Destination)
	if err == nil && !exists {
		err = makePoint(path, v.tree)
	}
	if err != nil && v.Optional {
		return unix.Close(v.tree)
	}
	if err != nil {
		return wrap("mount "+strconv.Quote(v.Destination), err)
	}
	return attach(v.tree, path)
}

// makePoint makes an empty folder or file, whichever the tree can be attached to.
func makePoint(path string, tree int) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')+1], 0o755); err != nil {
		return err
	}
	return touch(path)
}

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// resolve follows path below root the way the kernel would if root were "/", and says whether it exists. Where it does
// not, the path is the one to create: a link that leads nowhere, such as /etc/resolv.conf on many machines, is
// followed to its target.
func resolve(root, path string) (string, bool, error) {
	rest := strings.Split(path, "/")
	done := ""
	exists := true
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = done[:max(strings.LastIndexByte(done, '/'), 0)]
			continue
		}
		target, err := os.Readlink(root + done + "/" + name)
		if err != nil {
			done += "/" + name
			_, err := os.Lstat(root + done)
			exists = err == nil
			continue
		}
		if links++; links > maxLinks {
			return "", false, unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			done = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	if done == "" {
		done = "/"
	}
	return done, exists, nil
}
