package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

// container is one program of a pod. Its state runs created -> running -> exited, or created -> exited when it could
// not be started.
type container struct {
	id      string
	sandbox *sandbox
	config  *runtimeapi.ContainerConfig
	image   *usedImage
	dir     string
	spec    shim.Spec
	user    shim.User
	cgroup  *cgroup
	log     *logFile
	created int64
	// attached are the clients that see the output as it comes.
	attached fanout
	// launched is closed when an attempt to start has succeeded or failed, stopped when the container has exited and
	// its log is complete.
	launched, stopped chan struct{}

	// What follows changes under Runtime.mu.
	state     runtimeapi.ContainerState
	cancel    context.CancelFunc // ends an attempt to start
	started   int64
	finished  int64
	exitCode  int32
	reason    string
	message   string
	resources *runtimeapi.LinuxContainerResources
	process   *process
	stdin     *os.File
	// mnt and pids are namespaces of the running container, for others to join.
	mnt, pids *os.File
	cpu       cpuSample
}

// CreateContainer checks everything that can be checked without running anything, fetches the image if it is missing,
// and reserves what the container needs.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	s, err := r.sandbox(sandboxID)
	if err != nil {
		return "", err
	}
	image, err := r.obtain(ctx, config.GetImage())
	if err != nil {
		return "", err
	}
	c := &container{
		id: newID(), sandbox: s, config: config, image: image, created: now(),
		launched: make(chan struct{}), stopped: make(chan struct{}),
		state: runtimeapi.ContainerState_CONTAINER_CREATED, resources: config.GetLinux().GetResources(),
	}
	c.dir = filepath.Join(r.config.StateDir, "containers", c.id)
	if err := r.reserve(c); err != nil {
		return "", errors.Join(fmt.Errorf("container %q: %w", config.GetMetadata().GetName(), err), c.discard())
	}
	if err := r.admit(c); err != nil {
		return "", errors.Join(err, c.discard())
	}
	return c.id, nil
}

// admit makes a container known, unless its pod was stopped in the meantime.
func (r *Runtime) admit(c *container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.sandbox.ready {
		return fmt.Errorf("pod sandbox %q is stopped", c.sandbox.id)
	}
	r.containers[c.id] = c
	c.sandbox.containers[c.id] = c
	r.publish(runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, c.id, c.sandbox)
	return nil
}

// obtain finds the image by the id the kubelet knows it by, or pulls it by the name the user gave.
func (r *Runtime) obtain(ctx context.Context, image *runtimeapi.ImageSpec) (*usedImage, error) {
	record, ok, err := r.images.find(image.GetImage())
	if err != nil {
		return nil, err
	}
	if ok {
		if used, err := r.images.use(record); err == nil {
			return used, nil
		}
	}
	record, err = r.images.pull(ctx, cmp.Or(image.GetUserSpecifiedImage(), image.GetImage()), nil)
	if err != nil {
		return nil, fmt.Errorf("pulling %w", err)
	}
	return r.images.use(record)
}

func (r *Runtime) reserve(c *container) error {
	if err := r.describe(c); err != nil {
		return err
	}
	if err := makeScratch(c.dir); err != nil {
		return err
	}
	path := ""
	if c.config.LogPath != "" {
		path = filepath.Join(c.sandbox.config.LogDirectory, c.config.LogPath)
	}
	var err error
	if c.log, err = openLog(path, r.config.Log); err != nil {
		return err
	}
	c.cgroup, err = r.cgroups.create(c.id, c.resources)
	return err
}

// makeScratch makes the container's own /tmp and /var, with what programs expect in the latter.
func makeScratch(dir string) error {
	for _, d := range []string{"var/cache", "var/lib", "var/log", "var/spool"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		path := filepath.Join(dir, d)
		if err := os.Mkdir(path, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(path, os.ModeSticky|0o777); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(dir, "var/run")); err != nil {
		return err
	}
	return os.Symlink("/run/lock", filepath.Join(dir, "var/lock"))
}

// describe decides what the shim will do.
func (r *Runtime) describe(c *container) error {
	ctx := c.config.GetLinux().GetSecurityContext()
	var err error
	if c.user, err = identity(ctx, c.image.imageRecord); err != nil {
		return err
	}
	spec := shim.Spec{
		Dir: workingDir(c.config, c.image), Env: environment(c.config, c.image.imageRecord, c.sandbox.hostname(), c.user.UID),
		NoNewPrivileges: !ctx.GetPrivileged(), Terminal: c.config.Tty, OOMScoreAdj: int(c.resources.GetOomScoreAdj()),
		User: r.become(c.user),
	}
	if spec.Args, err = arguments(c.config, c.image.imageRecord); err != nil {
		return err
	}
	if spec.Capabilities, err = capabilities(ctx, c.user.UID); err != nil {
		return err
	}
	if spec.Root, err = r.root(c); err != nil {
		return err
	}
	c.spec = spec
	return nil
}

// become returns the user to switch to, or nil where the machine has no such user to give.
func (r *Runtime) become(u shim.User) *shim.User {
	if !r.ids.single() && r.ids.allows(u) {
		return &u
	}
	r.idNote.Do(func() {
		r.config.Log.Warn("pods run as the platform's own user: this user namespace has no other ids", "wanted", u.UID)
	})
	return nil
}

func (r *Runtime) root(c *container) (*shim.Root, error) {
	ctx := c.config.GetLinux().GetSecurityContext()
	ms, err := mounts(c.config)
	if err != nil {
		return nil, err
	}
	files := []shim.Mount{
		{Source: filepath.Join(c.sandbox.dir, "resolv.conf"), Destination: "/etc/resolv.conf"},
		{Source: filepath.Join(c.sandbox.dir, "hostname"), Destination: "/etc/hostname", Optional: true},
	}
	root := &shim.Root{
		Staging: filepath.Join(r.config.StateDir, "root"), Scratch: c.dir, Image: c.image.files,
		OwnNetwork: !c.sandbox.hostNetwork(), Privileged: ctx.GetPrivileged(), ReadOnly: ctx.GetReadonlyRootfs(),
		Mounts: append(files, ms...), Devices: devices(c.config),
	}
	if !root.Privileged {
		root.Masked, root.ReadOnlyPaths = ctx.GetMaskedPaths(), ctx.GetReadonlyPaths()
	}
	return root, nil
}

// discard gives back what reserve and use have taken.
func (c *container) discard() error {
	var errs []error
	if c.log != nil {
		errs = append(errs, c.log.close())
	}
	return errors.Join(append(errs, c.cgroup.remove(), c.image.release(), os.RemoveAll(c.dir))...)
}

func (r *Runtime) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, notFound("container", id)
	}
	return c, nil
}

// StopContainer asks the program to end, and after timeout seconds kills it with all its children. It returns when
// the container has exited. One that does not run, or is gone, is fine.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	c, err := r.container(id)
	if err != nil {
		return nil
	}
	r.abandon(c)
	p := r.processOf(c)
	if p == nil {
		return nil
	}
	if timeout > 0 {
		if err := p.signal(stopSignal(c.config, c.image.imageRecord)); err != nil {
			return fmt.Errorf("container %q: %w", id, err)
		}
		grace := time.NewTimer(time.Duration(timeout) * time.Second)
		defer grace.Stop()
		select {
		case <-c.stopped:
			return nil
		case <-grace.C:
		case <-ctx.Done():
			return fmt.Errorf("container %q: waiting for its end: %w", id, ctx.Err())
		}
	}
	if err := p.signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	// What SIGKILL was sent to does end; only the kernel decides when.
	<-c.stopped
	return nil
}

// abandon ends an attempt to start, if one is under way.
func (r *Runtime) abandon(c *container) {
	r.mu.Lock()
	cancel := c.cancel
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-c.launched
	}
}

// processOf returns the process of a running container.
func (r *Runtime) processOf(c *container) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil
	}
	return c.process
}

// RemoveContainer removes a container, and kills it first if it runs. One that is gone is fine.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return nil
	}
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	r.mu.Lock()
	_, known := r.containers[id]
	delete(r.containers, id)
	delete(c.sandbox.containers, id)
	if known {
		r.publish(runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, id, c.sandbox)
	}
	r.mu.Unlock()
	if !known {
		return nil
	}
	if err := c.discard(); err != nil {
		return fmt.Errorf("removing container %q: %w", id, err)
	}
	return nil
}

// ContainerStatus tells of one container.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtimeapi.ContainerStatusResponse{Status: c.status()}, nil
}

// status needs Runtime.mu.
func (c *container) status() *runtimeapi.ContainerStatus {
	st := &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.Metadata, State: c.state, CreatedAt: c.created, StartedAt: c.started,
		FinishedAt: c.finished, ExitCode: c.exitCode, Reason: c.reason, Message: c.message,
		Image: c.config.Image, ImageRef: c.imageRef(), ImageId: c.image.Digest,
		Labels: c.config.Labels, Annotations: c.config.Annotations, Mounts: c.config.Mounts, LogPath: c.log.path,
		Resources: &runtimeapi.ContainerResources{Linux: c.resources}, StopSignal: c.config.GetStopSignal(),
		User: &runtimeapi.ContainerUser{Linux: c.linuxUser()},
	}
	return st
}

func (c *container) imageRef() string {
	if len(c.image.Repositories) > 0 {
		return c.image.Repositories[0]
	}
	return c.image.Digest
}

func (c *container) linuxUser() *runtimeapi.LinuxContainerUser {
	u := &runtimeapi.LinuxContainerUser{Uid: int64(c.user.UID), Gid: int64(c.user.GID)}
	for _, g := range c.user.Groups {
		u.SupplementalGroups = append(u.SupplementalGroups, int64(g))
	}
	return u
}

// containerStatuses needs r.mu.
func (r *Runtime) containerStatuses(s *sandbox) []*runtimeapi.ContainerStatus {
	var all []*runtimeapi.ContainerStatus
	for _, c := range newestFirst(s.containers, func(c *container) int64 { return c.created }) {
		all = append(all, c.status())
	}
	return all
}

// ListContainers lists containers, the newest first.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.Container
	for _, c := range newestFirst(r.containers, func(c *container) int64 { return c.created }) {
		if !c.matches(filter) {
			continue
		}
		list = append(list, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.sandbox.id, Metadata: c.config.Metadata, Image: c.config.Image,
			ImageRef: c.imageRef(), ImageId: c.image.Digest, State: c.state, CreatedAt: c.created,
			Labels: c.config.Labels, Annotations: c.config.Annotations,
		})
	}
	return list, nil
}

func (c *container) matches(f *runtimeapi.ContainerFilter) bool {
	return (f.GetId() == "" || f.GetId() == c.id) &&
		(f.GetPodSandboxId() == "" || f.GetPodSandboxId() == c.sandbox.id) &&
		(f.GetState() == nil || f.GetState().State == c.state) &&
		hasLabels(c.config.Labels, f.GetLabelSelector())
}

func newestFirst[T any](m map[string]T, created func(T) int64) []T {
	all := make([]T, 0, len(m))
	for _, v := range m {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(created(b), created(a)) })
	return all
}

// UpdateContainerResources changes the limits of a container; zero leaves a limit as it is.
func (r *Runtime) UpdateContainerResources(_ context.Context, id string, resources *runtimeapi.ContainerResources) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := c.cgroup.update(resources.GetLinux()); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	c.resources = updated(c.resources, resources.GetLinux())
	return nil
}

func updated(old, change *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod: cmp.Or(change.GetCpuPeriod(), old.GetCpuPeriod()), CpuQuota: cmp.Or(change.GetCpuQuota(), old.GetCpuQuota()),
		CpuShares: cmp.Or(change.GetCpuShares(), old.GetCpuShares()), OomScoreAdj: old.GetOomScoreAdj(),
		MemoryLimitInBytes: cmp.Or(change.GetMemoryLimitInBytes(), old.GetMemoryLimitInBytes()),
	}
}

// ReopenContainerLog continues a running container's log in a new file, after the old one was renamed.
func (r *Runtime) ReopenContainerLog(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if r.processOf(c) == nil {
		return fmt.Errorf("container %q does not run", id)
	}
	return c.log.reopen()
}
