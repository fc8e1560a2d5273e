package e2e

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refused waits for a platform that must not start, and returns what it said.
func refused(t *testing.T, p *platform) string {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(startLimit):
		t.Fatalf("it still runs: %s", p.err)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	return p.err.String()
}

func TestSecondPlatform(t *testing.T) {
	first := common(t)
	t.Run("in the same data directory is refused", func(t *testing.T) {
		before := first.state(t)
		said := refused(t, start(t, launch{dir: first.dir}))
		for _, want := range []string{first.dir, "is in use by the platform with process id", "--data-dir"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in %s", want, said)
			}
		}
		if after := first.state(t); after.PID != before.PID || after.State != "ready" {
			t.Errorf("the second changed the state of the first to %+v", after)
		}
	})
	state := first.state(t)
	portal, err := url.Parse(state.PortalURL)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{
		"--api-port":      strings.TrimPrefix(first.config(t).Host, "https://"),
		"--gateway-port":  strings.TrimPrefix(state.GatewayURL, "http://"),
		"--portal-port":   portal.Host,
		"--registry-port": state.Registry,
	}
	for flag, address := range ports {
		t.Run("with the same "+flag+" is refused", func(t *testing.T) {
			_, port, _ := strings.Cut(address, ":")
			said := refused(t, start(t, launch{dir: newDir(t), args: []string{flag, port}}))
			for _, want := range []string{flag, "127.0.0.1:" + port, "address already in use"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in %s", want, said)
				}
			}
		})
	}
	t.Run("beside it becomes ready, and neither notices the other", func(t *testing.T) {
		before := first.restarts(t)
		second := start(t, launch{dir: newDir(t), args: []string{"--nodes", "1", testFile(t, "files.yaml")}})
		second.mustReady(t)
		if err := second.deployed(); err != nil {
			t.Fatal(err)
		}
		left := second.traces()
		if err := second.interrupt(); err != nil {
			t.Error(err)
		}
		if err := left.gone(10 * time.Second); err != nil {
			t.Error(err)
		}
		if after := first.restarts(t); after != before {
			t.Errorf("containers of the first platform ended: %d restarts, %d before", after, before)
		}
		s := shop{Client: first.http(t)}
		if err := s.open(); err != nil {
			t.Errorf("the first platform: %v", err)
		}
	})
}

// restarts counts how often containers of the shop were started again.
func (p *platform) restarts(t *testing.T) (n int32) {
	t.Helper()
	pods, err := p.kube(t).CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			n += c.RestartCount
		}
	}
	return n
}

// On the machine's network there is room for one platform.
func TestSecondPlatformOnTheSameNetwork(t *testing.T) {
	needRoot(t)
	on := isolate(t)
	first := start(t, launch{dir: newDir(t), on: on, args: []string{"--nodes", "1"}})
	first.mustReady(t)
	said := refused(t, start(t, launch{dir: newDir(t), on: on, args: []string{"--nodes", "1"}}))
	for _, want := range []string{"another platform uses this machine's network", "--private-network"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, said)
		}
	}
	image := writeApp(t, "image", "  image: registry.invalid/image:1\n")
	if a := first.escale(t, "deploy", image, "--timeout", "10s"); a.code != 1 || !strings.Contains(a.err, "apt-get install containerd") {
		t.Errorf("a container without containerd: exit code %d, want 1 and what to install: %s", a.code, a.err)
	}
	if a := first.escale(t, "delete", "image"); a.code != 0 {
		t.Errorf("deleting: exit code %d: %s", a.code, a.err)
	}
	if a := first.escale(t, "status"); a.code != 0 {
		t.Errorf("status of the first: exit code %d: %s%s", a.code, a.out, a.err)
	}
	if err := first.interrupt(); err != nil {
		t.Error(err)
	}
}

func testFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}
