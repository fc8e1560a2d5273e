package containerd

import (
	"context"
	"fmt"
	"maps"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// LabelOwner is the label of sandboxes and containers that says which node made them.
const LabelOwner = "escale.dev/node"

// labelPodUID is the kubelet's label of the pod a sandbox or container belongs to.
const labelPodUID = "io.kubernetes.pod.uid"

// Client is a connected Runtime: the upstream CRI client, except that it marks what it makes and lists only that.
type Client struct {
	internalapi.RuntimeService
	// Images is containerd's image store, which is the whole machine's.
	Images internalapi.ImageManagerService

	runtime *Runtime
}

// RunPodSandbox marks the sandbox with the node's label.
func (c *Client) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	config.Labels = c.marked(config.Labels)
	id, err := c.RuntimeService.RunPodSandbox(ctx, config, handler)
	if err != nil {
		return "", err
	}
	c.runtime.remember(id, config.GetMetadata().GetUid())
	return id, nil
}

// RemovePodSandbox also removes the sandbox's containers.
func (c *Client) RemovePodSandbox(ctx context.Context, id string) error {
	if err := c.RuntimeService.RemovePodSandbox(ctx, id); err != nil {
		return err
	}
	c.runtime.forget(id)
	return nil
}

// CreateContainer marks the container with the node's label. It refuses a mount that containerd would not see, because
// the container would start with an empty folder in its place.
func (c *Client) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	if err := c.visible(config.GetMounts()); err != nil {
		return "", err
	}
	config.Labels = c.marked(config.Labels)
	id, err := c.RuntimeService.CreateContainer(ctx, sandbox, config, pod)
	if err != nil {
		return "", err
	}
	c.runtime.remember(id, pod.GetMetadata().GetUid())
	return id, nil
}

func (c *Client) visible(mounts []*runtimeapi.Mount) error {
	if c.runtime.config.Visible == nil {
		return nil
	}
	for _, m := range mounts {
		if err := c.runtime.config.Visible(m.GetHostPath()); err != nil {
			return fmt.Errorf("mounting %q: %w", m.GetContainerPath(), err)
		}
	}
	return nil
}

// RemoveContainer removes the container.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	if err := c.RuntimeService.RemoveContainer(ctx, id); err != nil {
		return err
	}
	c.runtime.forget(id)
	return nil
}

// ListPodSandbox lists the node's own sandboxes.
func (c *Client) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	all := filter.GetId() == "" && filter.GetState() == nil && len(filter.GetLabelSelector()) == 0
	sandboxes, err := c.RuntimeService.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{
		Id:            filter.GetId(),
		State:         filter.GetState(),
		LabelSelector: c.marked(filter.GetLabelSelector()),
	})
	if err != nil {
		return nil, fmt.Errorf("listing pods in containerd: %w", err)
	}
	for _, s := range sandboxes {
		c.runtime.remember(s.GetId(), s.GetMetadata().GetUid())
	}
	if all {
		c.runtime.answered()
	}
	return sandboxes, nil
}

// ListContainers lists the node's own containers.
func (c *Client) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	containers, err := c.RuntimeService.ListContainers(ctx, &runtimeapi.ContainerFilter{
		Id:            filter.GetId(),
		State:         filter.GetState(),
		PodSandboxId:  filter.GetPodSandboxId(),
		LabelSelector: c.marked(filter.GetLabelSelector()),
	})
	if err != nil {
		return nil, fmt.Errorf("listing containers in containerd: %w", err)
	}
	for _, s := range containers {
		c.runtime.remember(s.GetId(), s.GetLabels()[labelPodUID])
	}
	return containers, nil
}

// ListContainerStats lists what the node's own containers use.
func (c *Client) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return c.RuntimeService.ListContainerStats(ctx, &runtimeapi.ContainerStatsFilter{
		Id:            filter.GetId(),
		PodSandboxId:  filter.GetPodSandboxId(),
		LabelSelector: c.marked(filter.GetLabelSelector()),
	})
}

// ListPodSandboxStats lists what the node's own pods use.
func (c *Client) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	return c.RuntimeService.ListPodSandboxStats(ctx, &runtimeapi.PodSandboxStatsFilter{
		Id:            filter.GetId(),
		LabelSelector: c.marked(filter.GetLabelSelector()),
	})
}

// marked is labels with the node's own added; the argument stays as it is.
func (c *Client) marked(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels)+1)
	maps.Copy(out, labels)
	out[LabelOwner] = c.runtime.config.Owner
	return out
}
