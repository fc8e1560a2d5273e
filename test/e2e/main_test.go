package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := cleanUp(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: after the tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// shared is the platform of the tests that leave it as they found it: with the shop, and with a job that runs every
// minute. A start takes as long as several tests.
var shared struct {
	sync.Once
	*platform
	err error
}

// common is the shared platform, started at its first use.
func common(t *testing.T) *platform {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a platform, which -short leaves out")
	}
	needRoot(t)
	shared.Do(func() { shared.platform, shared.err = startShared() })
	if shared.err != nil {
		t.Fatalf("the platform all tests share: %v", shared.err)
	}
	return shared.platform
}

func startShared() (*platform, error) {
	dir, err := scratch()
	if err != nil {
		return nil, err
	}
	shop, err := filepath.Abs("../../examples/shop")
	if err != nil {
		return nil, err
	}
	nightly, err := filepath.Abs("testdata/minutely.yaml")
	if err != nil {
		return nil, err
	}
	p, err := up(launch{dir: filepath.Join(dir, "shared"), args: []string{nightly, shop}})
	if err != nil {
		return nil, err
	}
	if _, err := p.ready(); err != nil {
		return p, err
	}
	return p, p.deployed()
}

// cleanUp stops the shared platform and checks that nothing is left of it.
func cleanUp() error {
	var err error
	if p := shared.platform; p != nil {
		left := p.traces()
		if err = p.interrupt(); err != nil {
			p.kill()
		}
		err = errors.Join(err, left.gone(stopLimit))
	}
	dir, scratchErr := scratch()
	if scratchErr != nil {
		return errors.Join(err, scratchErr)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// needRoot skips a test of a platform that root starts.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// newDir is a data directory for one test. Its path leaves room for a socket's name.
func newDir(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a platform, which -short leaves out")
	}
	base, err := scratch()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "d")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}
