// Package peer finds the programs that benchmarks run beside ours: those of Debian by their path, those written in Go
// built once from their modules and kept in the user's cache directory.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program returns the path of an installed program; those of administrators count too.
func Program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %q is not installed: apt-get install %s", name, name)
}

// Module is a program in a Go module.
type Module struct {
	// Path and Version name the module, Package the program in it, such as "./cmd/caddy".
	Path, Version, Package string
	// Files are added to the module before it is built, by their path in it: what its releases generate.
	Files map[string]string
}

// The programs that more than one benchmark runs.
var (
	Traefik = Module{
		Path: "github.com/traefik/traefik/v3", Version: "v3.0.4", Package: "./cmd/traefik",
		Files: map[string]string{"webui/static/index.html": "<!doctype html><title>not built</title>\n"},
	}
	Caddy = Module{Path: "github.com/caddyserver/caddy/v2", Version: "v2.8.4", Package: "./cmd/caddy"}
	KEDA  = Module{Path: "github.com/kedacore/keda/v2", Version: "v2.21.0", Package: "./cmd/operator"}
)

// Build returns the path of the program, and builds it if it is not in the cache. That takes minutes. The module is
// built in a copy of its own, because replace directives count only there.
func Build(ctx context.Context, m Module) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "escale-peers", strings.ReplaceAll(m.Path, "/", "-")+"-"+m.Version)
	program := filepath.Join(dir, filepath.Base(m.Package))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	source := filepath.Join(dir, "source")
	if err := m.copyTo(ctx, source); err != nil {
		return "", fmt.Errorf("copying module %q: %w", m.Path, err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", program+".new", m.Package)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %q of module %q: %w\n%s", m.Package, m.Path, err, out)
	}
	if err := os.Rename(program+".new", program); err != nil {
		return "", err
	}
	return program, os.RemoveAll(source)
}

// copyTo writes the module's files below dir.
func (m Module) copyTo(ctx context.Context, dir string) error {
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", m.Path+"@"+m.Version)
	download.Dir = os.TempDir() // no module of ours has a say
	out, err := download.Output()
	if err != nil {
		return fmt.Errorf("downloading: %w: %s", err, bytes.TrimSpace(stderrOf(err)))
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := copyTree(found.Dir, dir); err != nil {
		return err
	}
	for name, text := range m.Files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// copyTree copies regular files and makes all writable, which the module cache is not.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755)
		case !e.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}
