package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is a pod's namespaces and address.
type sandbox struct {
	id      string
	config  *runtimeapi.PodSandboxConfig
	handler string
	created int64
	address netip.Addr
	dir     string
	space   *podSpace

	// ready and the set of containers change under Runtime.mu.
	ready      bool
	containers map[string]*container
}

func (s *sandbox) hostNetwork() bool {
	return s.namespaces().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

func (s *sandbox) namespaces() *runtimeapi.NamespaceOption {
	return s.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

// hostname of the pod; in the machine's network it is the machine's.
func (s *sandbox) hostname() string {
	if s.config.Hostname != "" && !s.hostNetwork() {
		return s.config.Hostname
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

func checkSandbox(c *runtimeapi.PodSandboxConfig) error {
	ns := c.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch {
	case c.GetMetadata() == nil:
		return errors.New("pod has no metadata")
	// The zero value asks for sharing, so only options that are there count.
	case ns != nil && ns.GetPid() == runtimeapi.NamespaceMode_POD:
		return errors.New("shareProcessNamespace is not supported by runtime class \"process\"")
	case ns.GetUsernsOptions() != nil && ns.GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_POD:
		return errors.New("hostUsers: false is not supported by runtime class \"process\"")
	}
	return nil
}

// RunPodSandbox makes a pod's namespaces and gives it an address.
func (r *Runtime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if err := checkSandbox(config); err != nil {
		return "", err
	}
	s := &sandbox{id: newID(), config: config, handler: handler, created: now(), containers: map[string]*container{}}
	if err := r.prepare(s); err != nil {
		return "", errors.Join(fmt.Errorf("pod \"%s/%s\": %w", config.Metadata.Namespace, config.Metadata.Name, err), r.discard(s), os.RemoveAll(s.dir))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.ready = true
	r.sandboxes[s.id] = s
	r.publish(runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, s.id, s)
	r.publish(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, s.id, s)
	return s.id, nil
}

func (r *Runtime) prepare(s *sandbox) error {
	s.dir = filepath.Join(r.config.StateDir, "pods", s.id)
	if err := os.Mkdir(s.dir, 0o711); err != nil {
		return err
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	s.address = r.config.NodeAddress
	if !s.hostNetwork() {
		var err error
		if s.address, err = r.takeAddress(); err != nil {
			return err
		}
	}
	space, err := r.router.open(spaceRequest{
		id: s.id, hostname: s.hostname(), address: s.address, sysctls: s.config.GetLinux().GetSysctls(),
		hostNet: s.hostNetwork(), hostIPC: s.namespaces().GetIpc() == runtimeapi.NamespaceMode_NODE,
	})
	if err != nil {
		return err
	}
	s.space = space
	return nil
}

// writeFiles makes what every container of the pod sees in /etc.
func (s *sandbox) writeFiles() error {
	resolv := []byte(resolvConf(s.config.GetDnsConfig()))
	if s.config.GetDnsConfig() == nil {
		var err error
		if resolv, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "resolv.conf"), resolv, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "hostname"), []byte(s.hostname()+"\n"), 0o644)
}

func (r *Runtime) takeAddress() (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addresses.take()
}

// discard gives back the namespaces and the address.
func (r *Runtime) discard(s *sandbox) error {
	r.mu.Lock()
	space, address := s.space, s.address
	s.space, s.address = nil, netip.Addr{}
	if address.IsValid() && !s.hostNetwork() {
		r.addresses.release(address)
	}
	r.mu.Unlock()
	if space == nil {
		return nil
	}
	return space.close()
}

func (r *Runtime) sandbox(id string) (*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, notFound("pod sandbox", id)
	}
	return s, nil
}

// StopPodSandbox kills what runs in the pod and takes its network down. A sandbox that is stopped or gone is fine.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	s, err := r.sandbox(id)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	was := s.ready
	s.ready = false
	containers := maps.Clone(s.containers)
	r.mu.Unlock()
	if err := r.killAll(ctx, containers); err != nil {
		return err
	}
	if !was {
		return nil
	}
	if err := r.discard(s); err != nil {
		return fmt.Errorf("pod sandbox %q: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, s.id, s)
	return nil
}

func (r *Runtime) killAll(ctx context.Context, containers map[string]*container) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(containers))
	for id := range containers {
		wg.Go(func() { errs <- r.StopContainer(ctx, id, 0) })
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// RemovePodSandbox removes a pod and its containers, running or not. A sandbox that is gone is fine.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	s, err := r.sandbox(id)
	if err != nil {
		return nil
	}
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	containers := maps.Clone(s.containers)
	r.mu.Unlock()
	for cid := range containers {
		if err := r.RemoveContainer(ctx, cid); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("pod sandbox %q: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[id]; !ok {
		return nil
	}
	delete(r.sandboxes, id)
	r.publish(runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, s.id, s)
	return nil
}

// PodSandboxStatus tells of a pod and of all its containers at one moment.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	s, err := r.sandbox(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtimeapi.PodSandboxStatusResponse{Status: s.status(), ContainersStatuses: r.containerStatuses(s), Timestamp: now()}, nil
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// status needs Runtime.mu.
func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	network := &runtimeapi.PodSandboxNetworkStatus{}
	if s.address.IsValid() {
		network.Ip = s.address.String()
	}
	return &runtimeapi.PodSandboxStatus{
		Id: s.id, Metadata: s.config.Metadata, State: s.state(), CreatedAt: s.created, Network: network,
		Linux:  &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: s.namespaces()}},
		Labels: s.config.Labels, Annotations: s.config.Annotations, RuntimeHandler: s.handler,
	}
}

// ListPodSandbox lists pods, the newest first.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for _, s := range newestFirst(r.sandboxes, func(s *sandbox) int64 { return s.created }) {
		if !s.matches(filter) {
			continue
		}
		list = append(list, &runtimeapi.PodSandbox{
			Id: s.id, Metadata: s.config.Metadata, State: s.state(), CreatedAt: s.created,
			Labels: s.config.Labels, Annotations: s.config.Annotations, RuntimeHandler: s.handler,
		})
	}
	return list, nil
}

func (s *sandbox) matches(f *runtimeapi.PodSandboxFilter) bool {
	return (f.GetId() == "" || f.GetId() == s.id) &&
		(f.GetState() == nil || f.GetState().State == s.state()) &&
		hasLabels(s.config.Labels, f.GetLabelSelector())
}

func hasLabels(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// UpdatePodSandboxResources does nothing: limits are those of containers.
func (r *Runtime) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
