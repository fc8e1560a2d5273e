package process

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// What one image may hold. Layers come from outside: without limits one small archive could fill the disk.
const (
	maxImageEntries = 500_000
	maxImageBytes   = 8 << 30
)

const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// unpacker applies the layers of an image to a folder, as the OCI image specification says. All paths go through
// os.Root, so no entry is written outside, whatever its name and whatever links earlier entries made. Device nodes and
// pipes are left out, and set-user-id bits dropped.
type unpacker struct {
	root    *os.Root
	entries int
	bytes   int64
}

// unpack writes the files of img to dir, which must be empty, and sees them on disk. It returns their size.
func unpack(img v1.Image, dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	layers, err := img.Layers()
	if err != nil {
		return 0, fmt.Errorf("listing layers: %w", err)
	}
	u := &unpacker{root: root, entries: maxImageEntries, bytes: maxImageBytes}
	for i, l := range layers {
		if err := u.fetch(l); err != nil {
			return 0, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return maxImageBytes - u.bytes, syncFolder(dir)
}

func (u *unpacker) fetch(l v1.Layer) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	return errors.Join(u.layer(rc), rc.Close())
}

// layer applies one archive.
func (u *unpacker) layer(r io.Reader) error {
	// The stream is limited as well as the files: an entry that is skipped is read all the same.
	archive := tar.NewReader(&budget{r, maxImageBytes + 1<<30})
	fresh := map[string]bool{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if u.entries--; u.entries < 0 {
			return fmt.Errorf("image has more than %d entries", maxImageEntries)
		}
		if err := u.entry(h, archive, fresh); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

var errOutside = errors.New("leads outside the image")

// local cleans a name of an archive.
func local(name string) (string, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ".", nil
	}
	if !filepath.IsLocal(name) {
		return "", errOutside
	}
	return name, nil
}

// entry applies one entry; fresh collects the names this layer has made.
func (u *unpacker) entry(h *tar.Header, content io.Reader, fresh map[string]bool) error {
	if strings.Contains("/"+h.Name+"/", "/../") {
		return errOutside
	}
	name, err := local(h.Name)
	if err != nil || name == "." {
		return err
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == whiteoutOpaque {
		return u.clear(dir, fresh)
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		return u.root.RemoveAll(path.Join(dir, hidden))
	}
	if err := u.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	markFresh(fresh, name)
	return u.write(h, name, content)
}

func markFresh(fresh map[string]bool, name string) {
	for ; name != "."; name = path.Dir(name) {
		fresh[name] = true
	}
}

// clear removes from a folder what lower layers put there.
func (u *unpacker) clear(dir string, fresh map[string]bool) error {
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if fresh[name] {
			continue
		}
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) write(h *tar.Header, name string, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(h, name)
	case tar.TypeReg:
		return u.file(h, name, content)
	case tar.TypeSymlink:
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.own(h, name)
	case tar.TypeLink:
		return u.link(h, name)
	}
	return nil
}

func (u *unpacker) folder(h *tar.Header, name string) error {
	info, err := u.root.Lstat(name)
	if err != nil || !info.IsDir() {
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
		if err := u.root.Mkdir(name, 0o755); err != nil {
			return err
		}
	}
	if err := u.own(h, name); err != nil {
		return err
	}
	return u.root.Chmod(name, h.FileInfo().Mode().Perm())
}

func (u *unpacker) file(h *tar.Header, name string, content io.Reader) error {
	if h.Size > u.bytes {
		return fmt.Errorf("image has more than %d bytes", int64(maxImageBytes))
	}
	u.bytes -= h.Size
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := u.own(h, name); err != nil {
		return err
	}
	if err := u.root.Chmod(name, h.FileInfo().Mode().Perm()); err != nil {
		return err
	}
	// Compiled Python modules name the time of their source.
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

func (u *unpacker) link(h *tar.Header, name string) error {
	target, err := local(h.Linkname)
	if err != nil {
		return err
	}
	if target == name {
		return errors.New("links to itself")
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// own gives an entry its owner, where ids can be chosen; elsewhere everything belongs to whoever runs the node.
func (u *unpacker) own(h *tar.Header, name string) error {
	err := u.root.Lchown(name, h.Uid, h.Gid)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// budget fails when more than left bytes are read.
type budget struct {
	r    io.Reader
	left int64
}

func (b *budget) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.New("archive is too long")
	}
	return n, err
}

// syncFolder writes the file system of dir to disk.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
