package build

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxFiles and maxBytes are what a folder may hold. Above them a wrong folder is likelier than a large program.
	maxFiles = 50_000
	maxBytes = 1 << 30

	modeProgram = 0o755
	modeFile    = 0o644
)

// ignored is never part of an image: its name says that it belongs to a tool or to the machine, and that running the
// program may change it.
var ignored = map[string]bool{".git": true, "__pycache__": true, ".DS_Store": true}

// file is one entry of an image, below /app.
type file struct {
	name string      // path with slashes, relative to /app
	from string      // where the content is; empty for folders and symlinks
	link string      // where a symlink points
	mode fs.FileMode // type and permissions, normalised
	size int64       // of the content
}

// list walks folder, an absolute path without symlinks, in the order of names. The application file at the top stays
// out: it says how many replicas run, and changing that is no new revision.
func list(folder string) ([]file, error) {
	var files []file
	var total int64
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		switch {
		case err != nil:
			return err
		case name == "." || name == "escale.yaml":
			return nil
		case ignored[d.Name()] && d.IsDir():
			return fs.SkipDir
		case ignored[d.Name()]:
			return nil
		}
		f, err := entry(folder, filepath.ToSlash(name), d)
		if err != nil {
			return err
		}
		files, total = append(files, f), total+f.size
		if len(files) > maxFiles || total > maxBytes {
			return fmt.Errorf("the folder holds more than %d files or %d MiB, noticed at %q: let source.path name a smaller folder",
				maxFiles, maxBytes>>20, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the source in %q: %w", folder, err)
	}
	return files, nil
}

func entry(folder, name string, d fs.DirEntry) (file, error) {
	path := filepath.Join(folder, name)
	info, err := d.Info()
	if err != nil {
		return file{}, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return file{name: name, mode: fs.ModeDir | modeProgram}, nil
	case mode.IsRegular() && mode&0o111 != 0:
		return file{name: name, from: path, mode: modeProgram, size: info.Size()}, nil
	case mode.IsRegular():
		return file{name: name, from: path, mode: modeFile, size: info.Size()}, nil
	case mode.Type() == fs.ModeSymlink:
		link, err := os.Readlink(path)
		if err != nil {
			return file{}, err
		}
		if err := checkLink(folder, path, link); err != nil {
			return file{}, err
		}
		return file{name: name, link: link, mode: fs.ModeSymlink | 0o777}, nil
	default:
		return file{}, fmt.Errorf("%q is a %s: only files, folders and symlinks can be part of an image", name, kind(mode))
	}
}

// checkLink refuses a symlink that leads out of the folder: there, it would point at something else or at nothing.
func checkLink(folder, path, link string) error {
	escapes := fmt.Errorf("the symlink %q leads out of the folder, to %q: copy what it points at", path, link)
	if filepath.IsAbs(link) || !within(folder, filepath.Join(filepath.Dir(path), link)) {
		return escapes
	}
	// What the path says is not where it leads when there are further symlinks on the way.
	if target, err := filepath.EvalSymlinks(path); err == nil && !within(folder, target) {
		return escapes
	}
	return nil
}

func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	default:
		return "device"
	}
}
