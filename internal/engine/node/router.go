package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd"
)

// labelPodUID is the kubelet's label of the pod that a sandbox or container belongs to.
const labelPodUID = "io.kubernetes.pod.uid"

// settle is how long after a sandbox stopped the kubelet is made to look again: by then it has recorded the stop and
// waits for news from later than that.
const settle = 30 * time.Millisecond

// cri is a container runtime as the kubelet wants it.
type cri interface {
	internalapi.RuntimeService
	internalapi.ImageManagerService
}

// Router is the node's container runtime: the process runtime for pods of that RuntimeClass, containerd for all others.
// A sandbox or container belongs to containerd if that says so, else to the process runtime. Images are asked for by
// runtime handler, which the kubelet sends with the feature RuntimeClassInImageCriAPI.
type Router struct {
	process    cri
	containers *containerd.Runtime

	// changed is called with a pod's uid when the kubelet should look at the pod now.
	changed atomic.Pointer[func(uid string)]

	mu       sync.Mutex
	pods     map[string]string
	draining chan struct{}
}

// NewRouter routes between the two runtimes.
func NewRouter(process cri, containers *containerd.Runtime) *Router {
	return &Router{process: process, containers: containers, pods: map[string]string{}, draining: make(chan struct{})}
}

// of is the runtime that has this sandbox or container.
func (r *Router) of(ctx context.Context, id string) (internalapi.RuntimeService, error) {
	if !r.containers.Owns(id) {
		return r.process, nil
	}
	return r.containers.Client(ctx)
}

// both asks the process runtime, then containerd if it may know something of this pod; an empty uid means any pod.
func both[T any](ctx context.Context, r *Router, uid string, ask func(internalapi.RuntimeService) ([]T, error)) ([]T, error) {
	found, err := ask(r.process)
	if err != nil || !r.containers.Active() || (uid != "" && !r.containers.OwnsPod(uid)) {
		return found, err
	}
	client, err := r.containers.Client(ctx)
	if err != nil {
		return nil, err
	}
	more, err := ask(client)
	if err != nil {
		return nil, err
	}
	return append(found, more...), nil
}

// Version names the router itself: its name is the scheme of container ids in a pod's status.
func (r *Router) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version:           "0.1.0",
		RuntimeName:       "escale",
		RuntimeVersion:    "1.0.0",
		RuntimeApiVersion: "v1",
	}, nil
}

// Status is the process runtime's: a node without containerd is ready.
func (r *Router) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	return r.process.Status(ctx, verbose)
}

// RuntimeConfig is the process runtime's.
func (r *Router) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return r.process.RuntimeConfig(ctx)
}

// UpdateRuntimeConfig tells the process runtime; containerd is not the node's own.
func (r *Router) UpdateRuntimeConfig(ctx context.Context, config *runtimeapi.RuntimeConfig) error {
	return r.process.UpdateRuntimeConfig(ctx, config)
}

// RunPodSandbox starts a pod in the runtime of its handler.
func (r *Router) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if err := r.open(ctx); err != nil {
		return "", err
	}
	runtime := internalapi.RuntimeService(r.process)
	if handler != v1alpha1.RuntimeClassProcess {
		client, err := r.containers.Client(ctx)
		if err != nil {
			return "", err
		}
		runtime = client
	}
	id, err := runtime.RunPodSandbox(ctx, config, handler)
	if err == nil {
		r.mu.Lock()
		r.pods[id] = config.GetMetadata().GetUid()
		r.mu.Unlock()
	}
	return id, err
}

// StopPodSandbox stops a pod.
func (r *Router) StopPodSandbox(ctx context.Context, id string) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	if err := runtime.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	uid := r.pods[id]
	r.mu.Unlock()
	if uid != "" {
		time.AfterFunc(settle, func() { r.notify(uid) })
	}
	return nil
}

// RemovePodSandbox removes a pod that stopped.
func (r *Router) RemovePodSandbox(ctx context.Context, id string) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	if err := runtime.RemovePodSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.pods, id)
	r.mu.Unlock()
	return nil
}

// PodSandboxStatus is what a pod does.
func (r *Router) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return nil, err
	}
	return runtime.PodSandboxStatus(ctx, id, verbose)
}

// ListPodSandbox lists the pods of both runtimes.
func (r *Router) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	uid := filter.GetLabelSelector()[labelPodUID]
	return both(ctx, r, uid, func(s internalapi.RuntimeService) ([]*runtimeapi.PodSandbox, error) {
		return s.ListPodSandbox(ctx, filter)
	})
}

// PortForward prepares a stream to a pod's port.
func (r *Router) PortForward(ctx context.Context, request *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	runtime, err := r.of(ctx, request.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	return runtime.PortForward(ctx, request)
}

// UpdatePodSandboxResources changes a pod's limits.
func (r *Router) UpdatePodSandboxResources(ctx context.Context, request *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	runtime, err := r.of(ctx, request.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	return runtime.UpdatePodSandboxResources(ctx, request)
}

// CreateContainer creates a container in its pod's runtime.
func (r *Router) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	if err := r.open(ctx); err != nil {
		return "", err
	}
	runtime, err := r.of(ctx, sandbox)
	if err != nil {
		return "", err
	}
	return runtime.CreateContainer(ctx, sandbox, config, pod)
}

// StartContainer starts a container.
func (r *Router) StartContainer(ctx context.Context, id string) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	return runtime.StartContainer(ctx, id)
}

// StopContainer stops a container within timeout seconds.
func (r *Router) StopContainer(ctx context.Context, id string, timeout int64) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	return runtime.StopContainer(ctx, id, timeout)
}

// RemoveContainer removes a container that stopped.
func (r *Router) RemoveContainer(ctx context.Context, id string) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	return runtime.RemoveContainer(ctx, id)
}

// ListContainers lists the containers of both runtimes.
func (r *Router) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	uid := filter.GetLabelSelector()[labelPodUID]
	return both(ctx, r, uid, func(s internalapi.RuntimeService) ([]*runtimeapi.Container, error) {
		return s.ListContainers(ctx, filter)
	})
}

// ContainerStatus is what a container does.
func (r *Router) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return nil, err
	}
	return runtime.ContainerStatus(ctx, id, verbose)
}

// UpdateContainerResources changes a container's limits.
func (r *Router) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	return runtime.UpdateContainerResources(ctx, id, resources)
}

// ExecSync runs a command in a container and returns what it printed.
func (r *Router) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return runtime.ExecSync(ctx, id, cmd, timeout)
}

// Exec prepares a stream to a command in a container.
func (r *Router) Exec(ctx context.Context, request *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	runtime, err := r.of(ctx, request.GetContainerId())
	if err != nil {
		return nil, err
	}
	return runtime.Exec(ctx, request)
}

// Attach prepares a stream to a container's own input and output.
func (r *Router) Attach(ctx context.Context, request *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	runtime, err := r.of(ctx, request.GetContainerId())
	if err != nil {
		return nil, err
	}
	return runtime.Attach(ctx, request)
}

// ReopenContainerLog makes a container write to a new log file.
func (r *Router) ReopenContainerLog(ctx context.Context, id string) error {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return err
	}
	return runtime.ReopenContainerLog(ctx, id)
}

// CheckpointContainer saves a container's state.
func (r *Router) CheckpointContainer(ctx context.Context, request *runtimeapi.CheckpointContainerRequest) error {
	runtime, err := r.of(ctx, request.GetContainerId())
	if err != nil {
		return err
	}
	return runtime.CheckpointContainer(ctx, request)
}

// GetContainerEvents is the process runtime's; see Watch for how they reach the kubelet.
func (r *Router) GetContainerEvents(ctx context.Context, events chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	return r.process.GetContainerEvents(ctx, events, established)
}

// ContainerStats is what a container uses.
func (r *Router) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return nil, err
	}
	return runtime.ContainerStats(ctx, id)
}

// ListContainerStats lists what the containers of both runtimes use.
func (r *Router) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	uid := filter.GetLabelSelector()[labelPodUID]
	return both(ctx, r, uid, func(s internalapi.RuntimeService) ([]*runtimeapi.ContainerStats, error) {
		return s.ListContainerStats(ctx, filter)
	})
}

// Usage is what all containers of the node use together: processor time in nanoseconds, and bytes of memory.
func (r *Router) Usage(ctx context.Context) (cpu, memory uint64, err error) {
	all, err := r.ListContainerStats(ctx, nil)
	for _, s := range all {
		cpu += s.GetCpu().GetUsageCoreNanoSeconds().GetValue()
		memory += s.GetMemory().GetWorkingSetBytes().GetValue()
	}
	return cpu, memory, err
}

// PodSandboxStats is what a pod uses.
func (r *Router) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	runtime, err := r.of(ctx, id)
	if err != nil {
		return nil, err
	}
	return runtime.PodSandboxStats(ctx, id)
}

// ListPodSandboxStats lists what the pods of both runtimes use.
func (r *Router) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	uid := filter.GetLabelSelector()[labelPodUID]
	return both(ctx, r, uid, func(s internalapi.RuntimeService) ([]*runtimeapi.PodSandboxStats, error) {
		return s.ListPodSandboxStats(ctx, filter)
	})
}

// ListMetricDescriptors is the process runtime's.
func (r *Router) ListMetricDescriptors(ctx context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return r.process.ListMetricDescriptors(ctx)
}

// ListPodSandboxMetrics is the process runtime's.
func (r *Router) ListPodSandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return r.process.ListPodSandboxMetrics(ctx)
}

// store is where images of a runtime handler are.
func (r *Router) store(ctx context.Context, image *runtimeapi.ImageSpec) (internalapi.ImageManagerService, error) {
	if image.GetRuntimeHandler() == v1alpha1.RuntimeClassProcess {
		return r.process, nil
	}
	client, err := r.containers.Client(ctx)
	if err != nil {
		return nil, err
	}
	return client.Images, nil
}

// ListImages lists the images of both runtimes.
func (r *Router) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	images, err := r.process.ListImages(ctx, filter)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if image.Spec == nil {
			image.Spec = &runtimeapi.ImageSpec{}
		}
		image.Spec.RuntimeHandler = v1alpha1.RuntimeClassProcess
	}
	if !r.containers.Active() {
		return images, nil
	}
	client, err := r.containers.Client(ctx)
	if err != nil {
		return nil, err
	}
	more, err := client.Images.ListImages(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("listing images in containerd: %w", err)
	}
	return append(images, more...), nil
}

// ImageStatus tells whether the runtime of the image's handler has it. One call of the kubelet names no handler: the one
// that asks for an image's user when it makes a container, by when the image is in the pod's store. It is told from a
// call for the default handler by its annotations, which all other calls set. The same name in the other store, if it
// is there too, has the same user.
func (r *Router) ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	if image.GetRuntimeHandler() == "" && image.GetAnnotations() == nil {
		if known, err := r.process.ImageStatus(ctx, image, verbose); err == nil && known.GetImage() != nil {
			return known, nil
		}
	}
	store, err := r.store(ctx, image)
	if err != nil {
		return nil, err
	}
	return store.ImageStatus(ctx, image, verbose)
}

// PullImage pulls for the runtime of the image's handler.
func (r *Router) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	store, err := r.store(ctx, image)
	if err != nil {
		return "", err
	}
	return store.PullImage(ctx, image, auth, pod)
}

// RemoveImage removes the image from the runtime of its handler.
func (r *Router) RemoveImage(ctx context.Context, image *runtimeapi.ImageSpec) error {
	store, err := r.store(ctx, image)
	if err != nil {
		return err
	}
	return store.RemoveImage(ctx, image)
}

// ImageFsInfo is about the platform's own images.
func (r *Router) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return r.process.ImageFsInfo(ctx)
}

// Close ends both runtimes.
func (r *Router) Close(ctx context.Context) error {
	return errors.Join(r.process.Close(ctx), r.containers.Close(ctx))
}
