package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// failures are application files that must not be deployed, and what is said instead.
var failures = []struct {
	name string
	// spec of the App, which has the name of the case.
	spec string
	// args of `escale deploy`.
	args []string
	// want is on standard error.
	want []string
}{
	{
		name: "unknown-field",
		spec: "  command: [/bin/sleep, '600']\n  replica: 2\n",
		want: []string{"unknown-field.yaml:7:", "replica", "replicas"},
	},
	{
		name: "wrong-type",
		spec: "  command: [/bin/sleep, '600']\n  replicas: two\n",
		want: []string{"wrong-type.yaml:7:", "replicas"},
	},
	{
		name: "no-command",
		spec: "  command: [/usr/bin/no-such-program]\n",
		want: []string{`App "no-command" does not serve`, "/usr/bin/no-such-program", "not found"},
	},
	{
		name: "ends-at-once",
		spec: "  command: [/bin/sh, -c, 'echo no wind; exit 3']\n",
		want: []string{`App "ends-at-once" does not serve`, "exit code 3", "no wind"},
	},
	{
		name: "never-ready",
		spec: "  command: [/bin/sh, -c, 'echo waiting for a wind; exec sleep 600']\n  port: 8080\n  health: /healthz\n  stopAfterSeconds: 1\n",
		args: []string{"--timeout", "15s"},
		want: []string{`App "never-ready" does not serve`, "not serving after 15s", "GET /healthz on port 8080", "waiting for a wind"},
	},
	{
		name: "no-image",
		spec: "  image: REGISTRY/no/such/image:1\n  runtime: process\n  command: [/app/program]\n",
		want: []string{`App "no-image" does not serve`, "cannot pull image", "REGISTRY/no/such/image:1"},
	},
	{
		name: "no-registry",
		spec: "  image: 127.0.0.1:1/image:1\n  runtime: process\n  command: [/app/program]\n",
		want: []string{`App "no-registry" does not serve`, "127.0.0.1:1"},
	},
	{
		name: "no-containerd",
		spec: "  image: REGISTRY/some/image:1\n",
		args: []string{"--timeout", "15s"},
		want: []string{`App "no-containerd" does not serve`, "this pod needs a container runtime", "runtimeClassName: process"},
	},
}

// Nothing that cannot serve is reported as a success, and each failure says what to mend. All are deployed at once:
// most of the time is waiting.
func TestFailedDeployments(t *testing.T) {
	p := common(t)
	registry := p.state(t).Registry
	answers, errs := make([]answer, len(failures)), make([]error, len(failures))
	var all sync.WaitGroup
	for i, f := range failures {
		file := writeApp(t, f.name, strings.ReplaceAll(f.spec, "REGISTRY", registry))
		all.Go(func() {
			answers[i], errs[i] = p.command(t.Context(), append([]string{"deploy", file, "-n", "failures"}, f.args...)...)
		})
	}
	all.Wait()
	for i, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			a := answers[i]
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if a.code != 1 || a.out != "" {
				t.Errorf("exit code %d, standard output %q: want 1 and nothing", a.code, a.out)
			}
			for _, want := range f.want {
				if want = strings.ReplaceAll(want, "REGISTRY", registry); !strings.Contains(a.err, want) {
					t.Errorf("%q is not in\n%s", want, a.err)
				}
			}
		})
	}
	t.Run("the platform is well", func(t *testing.T) {
		s := shop{Client: p.http(t)}
		if err := s.open(); err != nil {
			t.Error(err)
		}
		if a := p.escale(t, "status", "-n", "shop"); a.code != 0 {
			t.Errorf("exit code %d: %s%s", a.code, a.out, a.err)
		}
	})
	t.Run("status tells which App is not ready, and why", func(t *testing.T) {
		a := p.escale(t, "status", "-n", "failures", "-o", "json")
		if a.code != 3 || !strings.Contains(a.out, "exit code 3") {
			t.Errorf("exit code %d, want 3:\n%s%s", a.code, a.out, a.err)
		}
	})
	for _, f := range failures[2:] {
		if a := p.escale(t, "delete", f.name, "-n", "failures"); a.code != 0 {
			t.Errorf("deleting %q: %s", f.name, a.err)
		}
	}
}

// writeApp writes the file of an App; its spec begins in line 6.
func writeApp(t *testing.T, name, spec string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".yaml")
	content := "apiVersion: escale.dev/v1alpha1\nkind: App\nmetadata:\n  name: " + name + "\nspec:\n" + spec
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// steady is an App that answers with version.
func steady(t *testing.T, command, version string) string {
	t.Helper()
	program, err := os.ReadFile("testdata/web.py")
	if err != nil {
		t.Fatal(err)
	}
	file := writeApp(t, "steady", fmt.Sprintf(`  source: {path: src}
  command: [%s, /app/web.py]
  port: 8080
  health: /
  route: {host: steady.localhost}
  env: [{name: VERSION, value: %s}]
`, command, version))
	source := filepath.Join(filepath.Dir(file), "src")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "web.py"), program, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// A revision that does not serve leaves the one before it in place, and a rollback makes the App whole.
func TestEarlierRevisionKeepsServing(t *testing.T) {
	p := common(t)
	get := getter(p.http(t), "http://steady.localhost/")
	deployed := func(file string, args ...string) answer {
		return p.escale(t, append([]string{"deploy", file, "-n", "steady"}, args...)...)
	}
	a := deployed(steady(t, "/usr/bin/python3", "first"))
	if a.code != 0 || !strings.HasPrefix(a.out, "http://steady.localhost:") {
		t.Fatalf("exit code %d: %s%s", a.code, a.out, a.err)
	}
	stop := make(chan struct{})
	load := begin(get, stop)
	if a := deployed(steady(t, "/usr/bin/no-python", "broken")); a.code != 1 || a.out != "" {
		t.Errorf("a broken revision: exit code %d, standard output %q", a.code, a.out)
	}
	if a := p.escale(t, "rollback", "steady", "-n", "steady"); a.code != 0 {
		t.Errorf("rollback: exit code %d: %s%s", a.code, a.out, a.err)
	}
	eventually(t, time.Minute, "the App is ready again", func() error {
		var s status
		a := p.escale(t, "status", "steady", "-n", "steady", "-o", "json")
		if err := json.Unmarshal([]byte(a.out), &s); err != nil {
			return err
		}
		if a.code != 0 || len(s.Apps) != 1 || !s.Apps[0].Ready {
			return fmt.Errorf("exit code %d: %+v", a.code, s.Apps)
		}
		return nil
	})
	close(stop)
	seen, lost := load()
	for _, err := range lost {
		t.Errorf("lost: %v", err)
	}
	if len(seen) != 1 || seen["first"] == 0 {
		t.Errorf("answers were %v, want only the first revision's", seen)
	}
	if a := p.escale(t, "delete", "steady", "-n", "steady"); a.code != 0 {
		t.Errorf("deleting: exit code %d: %s", a.code, a.err)
	}
}
