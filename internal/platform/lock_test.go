package platform

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
)

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestADataDirectoryHasOneOwner(t *testing.T) {
	dir := engine.Dir(t.TempDir())
	first, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockDir(dir)
	wantError(t, err, string(dir), "in use", fmt.Sprint(os.Getpid()), "--data-dir")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockDir(dir)
	if err != nil {
		t.Fatalf("the lock outlived its owner: %v", err)
	}
	defer again.Close()
}

func TestADataDirectoryOfANewerVersionIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "format")
	for content, say := range map[string]string{"99\n": "newer escale", "hello": "is this an escale data directory"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := lockDir(engine.Dir(dir))
		wantError(t, err, dir, say, "--data-dir")
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Errorf("the file was changed to %q", b)
		}
	}
}

func TestAFullDiskIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	_, err := lockDir(engine.Dir(dir))
	wantError(t, err, dir, "MiB free", "--data-dir")
}

func TestAPortInUseIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Ports{Gateway: l.Addr().(*net.TCPAddr).Port}.Listen()
	wantError(t, err, l.Addr().String(), "gateway", "--gateway-port")
}

func TestDefinitionNames(t *testing.T) {
	got, err := definitionName("crds/gateway.networking.k8s.io_httproutes.yaml")
	if err != nil || got != "httproutes.gateway.networking.k8s.io" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = definitionName("crds/readme.yaml")
	wantError(t, err, "GROUP_PLURAL")
}
