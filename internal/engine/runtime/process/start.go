package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

// StartContainer returns when the program runs. When it cannot be run, the error says why, and the container counts as
// exited with 128 for the reason StartError.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	namespaces, err := r.begin(c, cancel)
	if err != nil {
		return err
	}
	defer func() { _ = closeAll(namespaces...) }()
	defer close(c.launched)
	io, err := r.launch(ctx, c, namespaces)
	if err != nil {
		r.fail(c, err)
		return fmt.Errorf("container %q: %w", c.config.GetMetadata().GetName(), err)
	}
	copied := c.copy(io)
	go func() {
		<-c.process.done
		c.killRest()
		waitAtMost(copied, drainTime)
		io.closeNear()
		<-copied
		r.finish(c)
	}()
	return nil
}

// begin claims the right to start a container, and the namespaces of its pod.
func (r *Runtime) begin(c *container, cancel context.CancelFunc) ([]*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_CREATED || c.cancel != nil {
		return nil, fmt.Errorf("container %q was started already", c.id)
	}
	if !c.sandbox.ready {
		return nil, fmt.Errorf("pod sandbox %q is stopped", c.sandbox.id)
	}
	namespaces, err := duplicate(c.sandbox.space.files()...)
	if err == nil {
		c.cancel = cancel
	}
	return namespaces, err
}

func (r *Runtime) launch(ctx context.Context, c *container, namespaces []*os.File) (*stdio, error) {
	pids, create, err := r.pidNamespace(c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeAll(pids) }()
	if err := makeSources(c.spec.Root.Mounts); err != nil {
		return nil, err
	}
	c.spec.Cgroups, c.spec.Root.Cgroups = c.cgroup.entries(), c.cgroup.shown()
	io, err := openStdio(c.config.Stdin, c.config.Tty)
	if err != nil {
		return nil, err
	}
	p, err := r.launcher.start(ctx, &command{
		spec: c.spec, stdio: io.far, namespaces: namespaces, pids: pids, create: create | unix.CLONE_NEWNS,
	})
	io.closeFar()
	if err != nil {
		io.closeNear()
		return nil, err
	}
	io.use(p.terminal)
	if err := r.running(c, p, io.stdin); err != nil {
		p.kill()
		io.closeNear()
		return nil, err
	}
	return io, nil
}

// pidNamespace says which PID namespace a container gets: its own, the machine's, or that of the container an
// ephemeral one is to look into.
func (r *Runtime) pidNamespace(c *container) (*os.File, uintptr, error) {
	ns := c.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch ns.GetPid() {
	case runtimeapi.NamespaceMode_NODE:
		return nil, 0, nil
	case runtimeapi.NamespaceMode_TARGET:
		target, err := r.container(ns.GetTargetId())
		if err != nil {
			return nil, 0, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if target.pids == nil {
			return nil, 0, fmt.Errorf("target container %q does not run", target.id)
		}
		fs, err := duplicate(target.pids)
		if err != nil {
			return nil, 0, err
		}
		return fs[0], 0, nil
	}
	return nil, unix.CLONE_NEWPID, nil
}

// makeSources creates folders of the machine that a volume names and that do not exist, as other runtimes do.
func makeSources(ms []shim.Mount) error {
	for _, m := range ms {
		if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
			if err := os.MkdirAll(m.Source, 0o755); err != nil {
				return fmt.Errorf("mount %q: %w", m.Destination, err)
			}
		}
	}
	return nil
}

// running records that the program runs, and takes hold of its namespaces.
func (r *Runtime) running(c *container, p *process, stdin *os.File) error {
	// A program that has ended already has none: there is nothing to join, and its end is reported like any other.
	mnt, _ := os.Open(namespacePath(p.pid, "mnt"))
	pids, _ := os.Open(namespacePath(p.pid, "pid"))
	r.mu.Lock()
	defer r.mu.Unlock()
	c.process, c.stdin, c.mnt, c.pids = p, stdin, mnt, pids
	if !c.sandbox.ready {
		return fmt.Errorf("pod sandbox %q was stopped", c.sandbox.id)
	}
	c.state, c.started = runtimeapi.ContainerState_CONTAINER_RUNNING, now()
	// The first rate is the average since the start.
	c.cpu.at = time.Unix(0, c.started)
	r.publish(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, c.id, c.sandbox)
	return nil
}

func namespacePath(pid int, kind string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), "ns", kind)
}

// fail records that the program could not be started.
func (r *Runtime) fail(c *container, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.state, c.finished, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, now(), 128
	c.reason, c.message = "StartError", err.Error()
	if c.cgroup.killedForMemory() {
		c.reason = "OOMKilled"
	}
	_ = closeAll(c.mnt, c.pids)
	c.mnt, c.pids = nil, nil
	r.publish(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c.id, c.sandbox)
	close(c.stopped)
}

// killRest ends the children that the program has left behind. In a PID namespace of its own the kernel has done that.
func (c *container) killRest() {
	if c.config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetPid() == runtimeapi.NamespaceMode_CONTAINER {
		return
	}
	_ = unix.Kill(-c.process.pid, unix.SIGKILL)
	c.cgroup.kill()
}

// finish records the end of a program whose log is complete.
func (r *Runtime) finish(c *container) {
	oom := c.cgroup.killedForMemory()
	c.attached.close()
	g := r.ended(c, oom)
	if err := g.remove(); err != nil {
		r.config.Log.Warn("cgroup not removed", "container", c.id, "error", err)
	}
	close(c.stopped)
}

// ended returns the cgroup, which nobody else uses from now on.
func (r *Runtime) ended(c *container, oom bool) *cgroup {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.state, c.finished, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, now(), c.process.exitCode()
	c.reason = exitReason(c.exitCode, oom)
	_ = closeAll(c.mnt, c.pids, c.stdin, c.process.pidfd)
	g := c.cgroup
	c.mnt, c.pids, c.stdin, c.cgroup = nil, nil, nil, nil
	r.publish(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c.id, c.sandbox)
	return g
}

func exitReason(code int32, oom bool) string {
	switch {
	case code == 0:
		return "Completed"
	case oom:
		return "OOMKilled"
	}
	return "Error"
}
