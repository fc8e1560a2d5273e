package shop_test

import (
	"bufio"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/escale-dev/escale/api/v1alpha1"
	"sigs.k8s.io/yaml"
)

// readApps reads the Apps of escale.yaml, strictly.
func readApps(t *testing.T) map[string]v1alpha1.App {
	t.Helper()
	b, err := os.ReadFile("escale.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apps := map[string]v1alpha1.App{}
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var app v1alpha1.App
		if !strings.Contains(doc, "kind: App") {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(doc), &app); err != nil {
			t.Fatal(err)
		}
		apps[app.Name] = app
	}
	return apps
}

// bin is the folder of the built services.
var bin string

// build builds the Go services, once for all tests.
var build = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-o", bin, "./storefront", "./payment", "./dispatch").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the services: %w\n%s", err, out)
	}
	return nil
})

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "shop-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(bin)
	os.Exit(code)
}

// shop is a running shop.
type shop struct {
	t       *testing.T
	apps    map[string]v1alpha1.App
	env     []string          // overrides the file's, for every service
	address map[string]string // of each App
	process map[string]*process
	url     string
}

// startShop starts every App in the order in which they need each other, env added to what the file says.
func startShop(t *testing.T, env ...string) *shop {
	t.Helper()
	for _, tool := range []string{"redis-server", "/usr/bin/python3", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	s := &shop{t: t, apps: readApps(t), env: env, address: map[string]string{}, process: map[string]*process{}}
	s.address["database"] = filepath.Join(t.TempDir(), "redis.sock")
	s.startDatabase()
	for _, name := range []string{"catalog", "payment", "dispatch", "storefront"} {
		s.startService(name)
	}
	gateway := httptest.NewServer(&httputil.ReverseProxy{Rewrite: s.route})
	t.Cleanup(gateway.Close)
	s.url = gateway.URL
	return s
}

func (s *shop) startDatabase() {
	s.t.Helper()
	socket := s.address["database"]
	s.process["database"] = start(s.t, exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", filepath.Dir(socket), "--appendonly", "yes"))
	s.process["database"].wait("eady to accept connections")
}

// startService starts an App with the environment it has in the file, names replaced by addresses.
func (s *shop) startService(name string) {
	s.t.Helper()
	app := s.apps[name]
	command := app.Spec.Command
	if len(command) == 0 {
		if err := build(); err != nil {
			s.t.Fatal(err)
		}
		command = []string{filepath.Join(bin, name)}
	}
	args := make([]string, len(command))
	for i, a := range command {
		args[i] = strings.Replace(a, "/app/", app.Spec.Source.Path+"/", 1)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"HOST=127.0.0.1", "PORT=0"}
	for _, e := range app.Spec.Env {
		for other, address := range s.address {
			e.Value = strings.NewReplacer(other+":8080", address, other+":6379", address).Replace(e.Value)
		}
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	cmd.Env = append(cmd.Env, s.env...)
	s.process[name] = start(s.t, cmd)
	s.address[name] = s.process[name].wait(`"msg": ?"serving".*"address": ?"([^"]+)"`)
}

// route is what the gateway does: the longest path of the Apps' routes wins.
func (s *shop) route(r *httputil.ProxyRequest) {
	best, to := "", ""
	for name, app := range s.apps {
		if app.Spec.Route == nil {
			continue
		}
		path := strings.TrimSuffix(app.Spec.Route.Path, "/")
		if (r.In.URL.Path == path || strings.HasPrefix(r.In.URL.Path, path+"/")) && len(path) >= len(best) {
			best, to = path, s.address[name]
		}
	}
	r.SetURL(&url.URL{Scheme: "http", Host: to})
	r.Out.Host = r.In.Host
	r.SetXForwarded()
}

// process is a running program whose output is read line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
	err   error
}

// start starts cmd and kills it with the test.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, lines: make(chan string, 100), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for in := bufio.NewScanner(out); in.Scan(); {
			select {
			case p.lines <- in.Text():
			default: // nobody reads any more
			}
		}
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// wait returns the first group, if any, of the first line that matches.
func (p *process) wait(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		select {
		case line := <-p.lines:
			if m := re.FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
		case <-p.ended:
			p.t.Fatalf("%s ended before it said %q: %v", p.cmd.Path, pattern, p.err)
		}
	}
}

// stop asks the program to end and returns how it ended.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	return p.err
}
