package shim

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestResolve(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "etc", "run"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"bin": "usr/bin", "etc/resolv.conf": "../run/systemd/resolve/stub", "var": "/run", "up": "../../../..", "loop": "/loop",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, tc := range map[string]struct {
		want   string
		exists bool
	}{
		"/usr/bin":         {"/usr/bin", true},
		"/bin/x":           {"/usr/bin/x", false},
		"/etc/resolv.conf": {"/run/systemd/resolve/stub", false},
		"/var/secrets/a":   {"/run/secrets/a", false},
		"/up/etc":          {"/etc", true},
		"/../../etc":       {"/etc", true},
		"/none/../etc":     {"/etc", true},
		"/":                {"/", true},
	} {
		got, exists, err := resolve(root, path)
		if err != nil || got != tc.want || exists != tc.exists {
			t.Errorf("%s: got %q %v %v, want %q %v", path, got, exists, err, tc.want, tc.exists)
		}
	}
	if _, _, err := resolve(root, "/loop/x"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: got %v", err)
	}
}
