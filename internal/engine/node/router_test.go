package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd"
)

// memory is a runtime whose pods are entries in a map. The router's other side is a containerd that is not there; the
// package containerd tests the one that is.
type memoryRuntime struct {
	cri
	mu      sync.Mutex
	pods    map[string]string
	running map[string]bool
	calls   []string
	events  chan *runtimeapi.ContainerEventResponse
}

func newMemoryRuntime() *memoryRuntime {
	return &memoryRuntime{pods: map[string]string{}, running: map[string]bool{}, events: make(chan *runtimeapi.ContainerEventResponse)}
}

func (m *memoryRuntime) called(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, what)
}

func (m *memoryRuntime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, _ string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := "sandbox-" + config.GetMetadata().GetName()
	m.pods[id] = config.GetMetadata().GetUid()
	m.running["container-"+config.GetMetadata().GetName()] = true
	return id, nil
}

func (m *memoryRuntime) StopPodSandbox(_ context.Context, id string) error {
	m.called("stop " + id)
	return nil
}

func (m *memoryRuntime) RemovePodSandbox(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pods, id)
	return nil
}

func (m *memoryRuntime) StopContainer(_ context.Context, id string, _ int64) error {
	m.called("stop " + id)
	return nil
}

func (m *memoryRuntime) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for id, uid := range m.pods {
		list = append(list, &runtimeapi.PodSandbox{Id: id, Metadata: &runtimeapi.PodSandboxMetadata{Uid: uid}})
	}
	return list, nil
}

func (m *memoryRuntime) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*runtimeapi.Container
	for id := range m.running {
		list = append(list, &runtimeapi.Container{Id: id})
	}
	return list, nil
}

func (m *memoryRuntime) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return []*runtimeapi.Image{{Id: "one"}}, nil
}

func (m *memoryRuntime) ImageStatus(_ context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: image.GetImage()}}, nil
}

func (m *memoryRuntime) GetContainerEvents(ctx context.Context, to chan *runtimeapi.ContainerEventResponse, _ func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	for {
		select {
		case e := <-m.events:
			to <- e
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func podNamed(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Uid: "uid-" + name}}
}

func newTestRouter(t *testing.T) (*Router, *memoryRuntime) {
	t.Helper()
	m := newMemoryRuntime()
	return NewRouter(m, containerd.New(containerd.Config{Socket: t.TempDir() + "/none.sock", Owner: "node-a"})), m
}

func TestRouterPicksTheRuntime(t *testing.T) {
	r, _ := newTestRouter(t)
	cases := []struct {
		name, handler string
		want          error
	}{
		{name: "the class process runs here", handler: v1alpha1.RuntimeClassProcess},
		{name: "no class means a container", want: containerd.ErrAbsent},
		{name: "another class means a container of that kind", handler: "kata", want: containerd.ErrAbsent},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := r.RunPodSandbox(t.Context(), podNamed("p"), tc.handler); !errors.Is(err, tc.want) {
				t.Errorf("starting the pod: got %v, want %v", err, tc.want)
			}
			spec := &runtimeapi.ImageSpec{Image: "hello", RuntimeHandler: tc.handler, Annotations: map[string]string{}}
			if _, err := r.ImageStatus(t.Context(), spec, false); !errors.Is(err, tc.want) {
				t.Errorf("asking for the image: got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestRouterFindsAnImagesUser is about the one question that comes without a runtime.
func TestRouterFindsAnImagesUser(t *testing.T) {
	r, _ := newTestRouter(t)
	got, err := r.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: "hello"}, false)
	if err != nil || got.GetImage().GetId() != "hello" {
		t.Errorf("got %v, %v, want the image of the process runtime", got, err)
	}
}

func TestRouterListsWithoutContainerd(t *testing.T) {
	r, _ := newTestRouter(t)
	if _, err := r.RunPodSandbox(t.Context(), podNamed("p"), v1alpha1.RuntimeClassProcess); err != nil {
		t.Fatal(err)
	}
	list, err := r.ListPodSandbox(t.Context(), nil)
	if err != nil || len(list) != 1 || list[0].GetId() != "sandbox-p" {
		t.Errorf("got %v, %v, want the one pod", list, err)
	}
	images, err := r.ListImages(t.Context(), nil)
	if err != nil || len(images) != 1 || images[0].GetSpec().GetRuntimeHandler() != v1alpha1.RuntimeClassProcess {
		t.Errorf("got %v, %v, want the image with its runtime", images, err)
	}
}

// TestRouterTellsWhenToLook checks that the kubelet looks at a pod when a container ends and after its sandbox stopped.
func TestRouterTellsWhenToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newTestRouter(t)
		looked := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Watch(ctx, func(uid string) { looked <- uid }) }()

		status := &runtimeapi.PodSandboxStatus{Metadata: &runtimeapi.PodSandboxMetadata{Uid: "uid-p"}}
		m.events <- &runtimeapi.ContainerEventResponse{ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, PodSandboxStatus: status}
		m.events <- &runtimeapi.ContainerEventResponse{ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT}
		m.events <- &runtimeapi.ContainerEventResponse{ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, PodSandboxStatus: status}
		synctest.Wait()
		if len(looked) != 1 || <-looked != "uid-p" {
			t.Error("want one look, at the pod whose container ended")
		}

		id, err := r.RunPodSandbox(ctx, podNamed("q"), v1alpha1.RuntimeClassProcess)
		if err != nil {
			t.Fatal(err)
		}
		stopped := time.Now()
		if err := r.StopPodSandbox(ctx, id); err != nil {
			t.Fatal(err)
		}
		if uid := <-looked; uid != "uid-q" || time.Since(stopped) != settle {
			t.Errorf("looked at %q after %s, want uid-q after %s", uid, time.Since(stopped), settle)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a watch that is told to end returns %v", err)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newTestRouter(t)
		for _, name := range []string{"p", "q"} {
			if _, err := r.RunPodSandbox(t.Context(), podNamed(name), v1alpha1.RuntimeClassProcess); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(r.Drain(t.Context(), 1), r.Drain(t.Context(), 1)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"stop container-p", "stop container-q", "stop sandbox-p", "stop sandbox-q"} {
			if !slices.Contains(m.calls, want) {
				t.Errorf("did not %s", want)
			}
		}
		if left, err := r.ListPodSandbox(t.Context(), nil); err != nil || len(left) != 0 {
			t.Errorf("left %v, %v", left, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		held := make(chan error)
		go func() { held <- r.StartContainer(ctx, "container-p") }()
		synctest.Wait()
		select {
		case err := <-held:
			t.Errorf("a start while draining returned %v, want it held", err)
		default:
		}
		end := errors.New("the process ends")
		cancel(end)
		if err := <-held; !errors.Is(err, end) {
			t.Errorf("got %v, want %v", err, end)
		}
	})
}
