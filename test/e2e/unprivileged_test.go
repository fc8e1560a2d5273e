package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without privileges.
const nobody = 65534

// What a person without root gets: a platform in a network of its own.
func TestUnprivileged(t *testing.T) {
	needRoot(t) // to become someone else
	as := &syscall.Credential{Uid: nobody, Gid: nobody}
	namespacesAllowed(t, as)
	dir := newDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chown(d, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(filepath.Dir(dir), "files.yaml")
	content, err := os.ReadFile("testdata/files.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, launch{dir: dir, as: as, args: []string{"--nodes", "1", file}})
	if s := p.mustReady(t); s.Isolation != "private" {
		t.Errorf("isolation is %q", s.Isolation)
	}
	if err := p.deployed(); err != nil {
		t.Fatal(err)
	}
	get := getter(p.http(t), "http://files.localhost/")
	if _, err := get(); err != nil {
		t.Error(err)
	}
	left := p.traces()
	if err := p.interrupt(); err != nil {
		t.Errorf("after Ctrl-C it ended with %v", err)
	}
	if err := left.gone(10 * time.Second); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// namespacesAllowed skips the test where the machine does not let that user make namespaces, as some containers do.
func namespacesAllowed(t *testing.T, as *syscall.Credential) {
	t.Helper()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "--mount", "/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("needs the program unshare")
		}
		t.Skipf("this machine does not allow users namespaces: %v: %s", err, out)
	}
}
