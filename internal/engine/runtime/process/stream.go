package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// drainTime is how long output is still read after an executed command has ended, for children that keep it open.
const drainTime = 2 * time.Second

// maxSyncOutput is how much ExecSync returns of each stream, as in other runtimes.
const maxSyncOutput = 16 << 20

// streams serves exec, attach and port-forward to the kubelet. Each address it hands out holds a secret and is good
// for one use.
type streams struct {
	streaming.Server
	http *http.Server
}

func serveStreams(r *Runtime, log *slog.Logger) (*streams, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	config := streaming.DefaultConfig
	config.Addr = l.Addr().String()
	config.BaseURL = &url.URL{Scheme: "http", Host: config.Addr}
	server, err := streaming.NewServer(config, streamRuntime{r})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serving streams: %w", err), l.Close())
	}
	s := &streams{Server: server, http: &http.Server{Handler: server, ReadHeaderTimeout: 30 * time.Second}}
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("exec, attach and port-forward are not served any more", "error", err)
		}
	}()
	return s, nil
}

func (s *streams) close() error { return s.http.Close() }

// Exec returns the address at which the command is executed once.
func (r *Runtime) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if err := r.mustRun(req.GetContainerId()); err != nil {
		return nil, err
	}
	return r.streams.GetExec(req)
}

// Attach returns the address at which the container's streams can be had once.
func (r *Runtime) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if err := r.mustRun(req.GetContainerId()); err != nil {
		return nil, err
	}
	return r.streams.GetAttach(req)
}

// PortForward returns the address at which the pod's ports can be reached.
func (r *Runtime) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if _, err := r.sandbox(req.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return r.streams.GetPortForward(req)
}

func (r *Runtime) mustRun(id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if r.processOf(c) == nil {
		return fmt.Errorf("container %q does not run", id)
	}
	return nil
}

// ExecSync runs a command in a container. A command that ends with another code than 0 is an exec.CodeExitError of
// k8s.io/utils, one that does not end in time wraps ErrCommandTimedOut of k8s.io/cri-client: the kubelet's probes
// look for both. A timeout of 0 is none.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, remote.ErrCommandTimedOut)
		defer cancel()
	}
	var out, errOut limitedBuffer
	err = r.exec(ctx, execution{container: id, cmd: cmd, stdout: &out, stderr: &errOut})
	if cause := context.Cause(ctx); errors.Is(cause, remote.ErrCommandTimedOut) {
		return nil, nil, fmt.Errorf("%w: %q timed out after %s", cause, strings.Join(cmd, " "), timeout)
	}
	if code, ok := errors.AsType[utilexec.CodeExitError](err); ok {
		code.Err = fmt.Errorf("command %q exited with %d: %s", strings.Join(cmd, " "), code.Code, errOut.Bytes())
		err = code
	}
	return out.Bytes(), errOut.Bytes(), err
}

// limitedBuffer keeps the first bytes and swallows the rest.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), max(maxSyncOutput-b.Len(), 0))])
	return len(p), nil
}

// execution is one command in a running container.
type execution struct {
	container      string
	cmd            []string
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool
	resize         <-chan remotecommand.TerminalSize
}

// exec returns when the command has ended and its output was read.
func (r *Runtime) exec(ctx context.Context, e execution) error {
	cmd, err := r.execCommand(e)
	if err != nil {
		return err
	}
	defer func() { _ = closeAll(append(cmd.namespaces, cmd.pids)...) }()
	pipes, err := openStdio(e.stdin != nil, e.terminal)
	if err != nil {
		return err
	}
	cmd.stdio = pipes.far
	p, err := r.launcher.start(ctx, cmd)
	pipes.closeFar()
	if err != nil {
		pipes.closeNear()
		return err
	}
	pipes.use(p.terminal)
	return e.attend(ctx, p, pipes)
}

// execCommand takes hold of the container's namespaces and describes a process like the container's own.
func (r *Runtime) execCommand(e execution) (*command, error) {
	if len(e.cmd) == 0 {
		return nil, errors.New("no command to execute")
	}
	c, err := r.container(e.container)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.mnt == nil || c.pids == nil || c.sandbox.space == nil {
		return nil, fmt.Errorf("container %q does not run", e.container)
	}
	spec := c.spec
	spec.Root, spec.Cgroups, spec.Args, spec.Terminal = nil, c.cgroup.entries(), e.cmd, e.terminal
	if e.terminal {
		spec.Env = setVariable(append([]string(nil), spec.Env...), "TERM=xterm")
	}
	files, err := duplicate(append([]*os.File{c.pids}, append(c.sandbox.space.files(), c.mnt)...)...)
	if err != nil {
		return nil, err
	}
	return &command{spec: spec, namespaces: files[1:], pids: files[0]}, nil
}

// attend moves data to and from a command until it ends, and says how it ended.
func (e execution) attend(ctx context.Context, p *process, pipes *stdio) error {
	stop := context.AfterFunc(ctx, func() { _ = p.signal(unix.SIGKILL) })
	defer stop()
	ended := make(chan struct{})
	if p.terminal != nil {
		go resizeTerminal(p.terminal, e.resize, ended)
	}
	if pipes.stdin != nil && e.stdin != nil {
		go feed(pipes.stdin, e.stdin, p.terminal == nil)
	}
	drained := drain(pipes, e.stdout, e.stderr)
	<-p.done
	close(ended)
	waitAtMost(drained, drainTime)
	pipes.closeNear()
	<-drained
	_ = p.pidfd.Close()
	if code := p.exitCode(); code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: int(code)}
	}
	return nil
}

func feed(w *os.File, r io.Reader, closeAtEnd bool) {
	_, _ = io.Copy(w, r)
	if closeAtEnd {
		_ = w.Close()
	}
}

// drain copies output; the channel is closed at its end.
func drain(pipes *stdio, stdout, stderr io.Writer) <-chan struct{} {
	var wg sync.WaitGroup
	move := func(w io.Writer, f *os.File) {
		if f == nil {
			return
		}
		if w == nil {
			w = io.Discard
		}
		wg.Go(func() { _, _ = io.Copy(w, terminalReader{f}) })
	}
	move(stdout, pipes.stdout)
	move(stderr, pipes.stderr)
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

func waitAtMost(done <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

func resizeTerminal(terminal *os.File, sizes <-chan remotecommand.TerminalSize, ended <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			setSize(terminal, size)
		case <-ended:
			return
		}
	}
}

func setSize(terminal *os.File, size remotecommand.TerminalSize) {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}

// streamRuntime is what the streaming server calls.
type streamRuntime struct{ r *Runtime }

func (s streamRuntime) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return s.r.exec(ctx, execution{container: id, cmd: cmd, stdin: in, stdout: out, stderr: errOut, terminal: tty, resize: resize})
}

func (s streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := s.r.container(id)
	if err != nil {
		return err
	}
	if s.r.processOf(c) == nil {
		return fmt.Errorf("container %q does not run", id)
	}
	s.r.attachInput(c, in, resize)
	me := c.attached.join()
	defer c.attached.leave(me)
	return me.follow(ctx, map[string]io.Writer{"stdout": out, "stderr": errOut})
}

// attachInput feeds a client's input to a container that wants it.
func (r *Runtime) attachInput(c *container, in io.Reader, resize <-chan remotecommand.TerminalSize) {
	r.mu.Lock()
	stdin, p := c.stdin, c.process
	r.mu.Unlock()
	if p.terminal != nil {
		go resizeTerminal(p.terminal, resize, c.stopped)
	}
	if in != nil && stdin != nil && c.config.Stdin {
		go feed(stdin, in, c.config.StdinOnce && !c.config.Tty)
	}
}

// follow hands output to a client until the container ends, the client leaves or falls behind.
func (c *client) follow(ctx context.Context, to map[string]io.Writer) error {
	for {
		select {
		case piece, ok := <-c.chunks:
			if !ok && c.slow {
				return errSlow
			}
			if !ok {
				return nil
			}
			if err := forward(to[piece.stream], piece.data); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func forward(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}

func (s streamRuntime) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	sandbox, err := s.r.sandbox(sandboxID)
	if err != nil {
		return err
	}
	conn, err := s.r.dial(sandbox, port)
	if err != nil {
		return fmt.Errorf("port %d of the pod: %w", port, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// dial connects to a port inside a pod.
func (r *Runtime) dial(s *sandbox, port int32) (net.Conn, error) {
	r.mu.Lock()
	if !s.ready || s.space == nil {
		r.mu.Unlock()
		return nil, fmt.Errorf("pod sandbox %q is stopped", s.id)
	}
	if s.space.net == nil {
		r.mu.Unlock()
		return dialLoopback(port)
	}
	ns, err := duplicate(s.space.net)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeAll(ns...) }()
	return dialInside(ns[0], port)
}
