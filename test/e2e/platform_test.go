package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long the stories wait for what usually takes a tenth of it. A machine that runs other tests besides is slow.
const (
	startLimit  = 90 * time.Second
	deployLimit = 2 * time.Minute
	stopLimit   = 45 * time.Second
)

// binaryVariable, in the environment, names a program to test instead of one built from this source.
const binaryVariable = "ESCALE_BINARY"

// program is a copy of the program that every user may run and no build replaces while the tests run.
var program = sync.OnceValues(func() (string, error) {
	built := os.Getenv(binaryVariable)
	if built == "" {
		var err error
		if built, err = enginetest.Binary(); err != nil {
			return "", err
		}
	}
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	from, err := os.Open(built)
	if err != nil {
		return "", err
	}
	defer from.Close()
	path := filepath.Join(dir, "escale")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return path, errors.Join(err, to.Close())
})

// scratch is the folder of everything the tests write. TestMain removes it.
var scratch = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "escale-e2e")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
})

// launch says how `escale up` is started.
type launch struct {
	// dir is the data directory.
	dir string
	// args follow the ones that keep platforms apart.
	args []string
	// on is the network the platform is started in without --private-network; nil: a private one.
	on *isolated
	// as is the user; nil: this one.
	as *syscall.Credential
}

// platform is a running `escale up`.
type platform struct {
	launch
	cmd      *exec.Cmd
	out, err *output
	begun    time.Time
	// ended is closed when the process is gone and exit is set.
	ended chan struct{}
	exit  error
}

// freePorts lets the kernel choose.
var freePorts = []string{"--api-port=0", "--gateway-port=0", "--portal-port=0", "--registry-port=0"}

// up starts a platform and does not wait for it. It must be stopped or killed.
func up(l launch) (*platform, error) {
	binary, err := program()
	if err != nil {
		return nil, err
	}
	args := append([]string{"up", "--data-dir", l.dir, "--containerd-socket", filepath.Join(l.dir, "no-containerd")}, freePorts...)
	if l.on == nil && l.as == nil {
		args = append(args, "--private-network")
	}
	p := &platform{launch: l, out: newOutput(), err: newOutput(), begun: time.Now(), ended: make(chan struct{})}
	p.cmd = exec.Command(binary, append(args, l.args...)...)
	p.cmd.Dir = filepath.Dir(l.dir)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.WaitDelay = stopLimit // for processes that live longer than they should
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: l.as, Pdeathsig: syscall.SIGKILL}
	if l.as != nil {
		p.cmd.Env = []string{"HOME=" + l.dir, "PATH=" + os.Getenv("PATH")}
	}
	started := make(chan error)
	// The platform dies with the thread that started it, and so with these tests, however they end.
	go func() {
		_ = onThread(func() error {
			err := l.on.enter()
			if err == nil {
				err = p.cmd.Start()
			}
			started <- err
			if err == nil {
				p.exit = p.cmd.Wait()
				close(p.ended)
			}
			return nil
		})
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %q: %w", binary, err)
	}
	return p, nil
}

// start is up for a test, which ends with the platform killed if it still runs.
func start(t *testing.T, l launch) *platform {
	t.Helper()
	p, err := up(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("standard error of the platform:\n%s\nend of its log:\n%s", p.err, tail(filepath.Join(l.dir, "platform.log")))
		}
	})
	return p
}

// ready waits until all nodes are.
func (p *platform) ready() (s engine.State, err error) {
	err = poll(startLimit, func() error {
		select {
		case <-p.ended:
			return final{fmt.Errorf("it ended with %s: %s", p.cmd.ProcessState, p.err)}
		default:
		}
		if s, err = engine.Dir(p.dir).ReadState(); err != nil {
			return err
		}
		if s.State != "ready" || s.StartedAt.Before(p.begun) {
			return fmt.Errorf("it is %s: %s", s.State, s.Message)
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("waiting for the platform to be ready: %w", err)
	}
	return s, nil
}

// mustReady is ready for a test.
func (p *platform) mustReady(t *testing.T) engine.State {
	t.Helper()
	s, err := p.ready()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deployed waits until the files named at the start are deployed.
func (p *platform) deployed() error {
	if err := p.out.wait(p.ended, deployLimit, "next: "); err != nil {
		return fmt.Errorf("waiting for the summary: %w\n%s\n%s", err, p.err, p.describe())
	}
	if strings.Contains(p.err.String(), "was not deployed") {
		return fmt.Errorf("the files were not deployed:\n%s", p.err)
	}
	return nil
}

// describe is what a person would look at when something does not start.
func (p *platform) describe() string {
	a, err := p.command(context.Background(), "status", "-o", "wide")
	if err != nil {
		return err.Error()
	}
	return a.out + a.err
}

// state is what the platform says of itself.
func (p *platform) state(t testing.TB) engine.State {
	t.Helper()
	s, err := engine.Dir(p.dir).ReadState()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// interrupt does what Ctrl-C does, and waits for the end.
func (p *platform) interrupt() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupting the platform: %w", err)
	}
	select {
	case <-p.ended:
		return p.exit
	case <-time.After(stopLimit):
		return fmt.Errorf("the platform still runs %s after it was interrupted:\n%s", stopLimit, p.err)
	}
}

// kill ends the platform with -9, if it still runs.
func (p *platform) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// config is a client's configuration for the platform's cluster, without a rate limit.
func (p *platform) config(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", engine.Dir(p.dir).Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 1000, 1000
	if p.on != nil {
		cfg.Dial = p.on.dial
	}
	return cfg
}

func (p *platform) kube(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(p.config(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// http is a client whose every request goes to the gateway, whatever host the URL names.
func (p *platform) http(t testing.TB) *http.Client {
	t.Helper()
	gateway := strings.TrimPrefix(p.state(t).GatewayURL, "http://")
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return p.on.dial(ctx, network, gateway)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// answer is how a command ended.
type answer struct {
	out, err string
	code     int
}

// escale runs a command of the program against this platform.
func (p *platform) escale(t testing.TB, args ...string) answer {
	t.Helper()
	a, err := p.command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// command is escale for code without a test.
func (p *platform) command(ctx context.Context, args ...string) (answer, error) {
	binary, err := program()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--data-dir", p.dir)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "KUBECONFIG=") })
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = p.on.do(cmd.Start); err == nil {
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return answer{}, fmt.Errorf("escale %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}, nil
}

// final is an error that waiting does not change.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// poll asks until the answer is nil, final, or the time is over.
func poll(limit time.Duration, ask func() error) error {
	over := time.After(limit)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		var last final
		if err == nil || errors.As(err, &last) {
			return err
		}
		select {
		case <-again.C:
		case <-over:
			return fmt.Errorf("after %s: %w", limit, err)
		}
	}
}

// eventually is poll for a test.
func eventually(t *testing.T, limit time.Duration, what string, ask func() error) {
	t.Helper()
	if err := poll(limit, ask); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// output collects what a process writes and wakes who waits for it.
type output struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buffer.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// wait returns when text was written.
func (o *output) wait(ended <-chan struct{}, limit time.Duration, text string) error {
	over := time.After(limit)
	for {
		o.mu.Lock()
		found, changed := strings.Contains(o.buffer.String(), text), o.changed
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			return errors.New("the process ended")
		case <-over:
			return fmt.Errorf("nothing after %s", limit)
		}
	}
}

// tail is the end of a file.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}
