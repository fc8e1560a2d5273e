package process

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Name is what the runtime calls itself.
const Name = "escale-process"

// Config is what a runtime needs to know. All fields are required.
type Config struct {
	// Node is the name of the node; with StateDir it names the node's cgroup below "escale".
	Node string
	// NodeAddress is the address of pods in the machine's network, and the others' gateway.
	NodeAddress netip.Addr
	// PodCIDR is the IPv4 prefix pods' addresses come from.
	PodCIDR netip.Prefix
	// Host is the platform's address; the machine speaks to pods from it.
	Host netip.Addr
	// StateDir holds what belongs to running pods. It is emptied at the start. No other runtime of the machine uses it.
	StateDir string
	// ImagesDir holds unpacked images; several nodes may share it.
	ImagesDir string
	// Log is where problems go that no caller hears of.
	Log *slog.Logger
}

func (c Config) validate() error {
	switch {
	case c.Node == "" || c.StateDir == "" || c.ImagesDir == "" || c.Log == nil:
		return errors.New("process runtime: node, folders and log must be set")
	case !c.NodeAddress.Is4() || !c.Host.Is4():
		return errors.New("process runtime: node address and host must be IPv4 addresses")
	case !c.PodCIDR.Addr().Is4() || c.PodCIDR.Bits() > 30:
		return fmt.Errorf("process runtime: pod prefix %q must be IPv4 and have room for pods", c.PodCIDR)
	}
	return nil
}

// Runtime runs pods. All its methods may be called at the same time.
type Runtime struct {
	config   Config
	launcher *launcher
	router   *router
	cgroups  *cgroupTree
	images   *imageStore
	ids      idMap
	streams  *streams
	events   events
	// closed ends with the runtime.
	closed context.Context
	close  context.CancelFunc

	idNote sync.Once

	// mu protects what follows and the mutable fields of sandboxes and containers. It is never held while waiting.
	mu         sync.Mutex
	addresses  *addresses
	sandboxes  map[string]*sandbox
	containers map[string]*container
}

var (
	_ cri.RuntimeService      = (*Runtime)(nil)
	_ cri.ImageManagerService = (*Runtime)(nil)
)

// New starts a runtime with no pods, after it has removed what an earlier one with the same folder left behind.
// The program must link package shim, which this package does.
func New(c Config) (*Runtime, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	r := &Runtime{config: c, sandboxes: map[string]*sandbox{}, containers: map[string]*container{}}
	r.closed, r.close = context.WithCancel(context.Background())
	if err := r.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("process runtime of node %q: %w", c.Node, err), r.shut())
	}
	return r, nil
}

func (r *Runtime) open() error {
	c := r.config
	r.cgroups = openCgroups(CgroupOf(c.Node, c.StateDir), c.Log)
	r.addresses = newAddresses(c.PodCIDR, mathrand.Uint32(), c.NodeAddress, c.Host)
	var err error
	if r.ids, err = readIDMap(); err != nil {
		return err
	}
	if err := emptyFolder(c.StateDir, "pods", "containers", "root"); err != nil {
		return err
	}
	if r.images, err = newImageStore(c.ImagesDir); err != nil {
		return err
	}
	if r.router, err = newRouter(c.Host, c.NodeAddress); err != nil {
		return err
	}
	if r.launcher, err = newLauncher(); err != nil {
		return err
	}
	r.streams, err = serveStreams(r, c.Log)
	return err
}

// CgroupOf is the path of a node's cgroup below the mount of a controller; the groups of its containers are in it, by
// their ids. Cgroups belong to the whole machine, and the nodes of two platforms may have the same name: what tells them
// apart, and is the same after a restart, is the folder of their state.
func CgroupOf(node, stateDir string) string {
	sum := sha256.Sum256([]byte(stateDir))
	return filepath.Join("escale", node+"-"+hex.EncodeToString(sum[:4]))
}

// emptyFolder makes a folder with the given empty folders in it.
func emptyFolder(dir string, names ...string) error {
	for _, n := range names {
		path := filepath.Join(dir, n)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.MkdirAll(path, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// shut releases what open has acquired.
func (r *Runtime) shut() error {
	r.close()
	var errs []error
	if r.streams != nil {
		errs = append(errs, r.streams.close())
	}
	if r.launcher != nil {
		errs = append(errs, r.launcher.close())
	}
	if r.router != nil {
		errs = append(errs, r.router.close())
	}
	if r.cgroups != nil {
		errs = append(errs, r.cgroups.close())
	}
	return errors.Join(errs...)
}

// Close kills and removes all pods, and then the runtime's own traces. The runtime cannot be used afterwards.
func (r *Runtime) Close(ctx context.Context) error {
	if r.closed.Err() != nil {
		return nil
	}
	var wg sync.WaitGroup
	for _, id := range r.sandboxIDs() {
		wg.Go(func() {
			if err := r.RemovePodSandbox(ctx, id); err != nil {
				r.config.Log.Error("pod not removed", "sandbox", id, "error", err)
			}
		})
	}
	wg.Wait()
	return r.shut()
}

func (r *Runtime) sandboxIDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id := range r.sandboxes {
		ids = append(ids, id)
	}
	return ids
}

// Version of the runtime and of the interface.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: Name, RuntimeVersion: "0.1.0", RuntimeApiVersion: "v1"}, nil
}

// Status is ready: New has made sure of that.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true},
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{
			{Name: "", Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}},
			{Name: "process", Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}},
		},
	}, nil
}

// RuntimeConfig says that the runtime writes cgroups itself, without systemd.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{
		Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS},
	}, nil
}

// UpdateRuntimeConfig does nothing: the prefix of pods' addresses is in Config.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// CheckpointContainer is not supported.
func (r *Runtime) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return status.Error(codes.Unimplemented, "checkpoints are not supported by runtime class \"process\"")
}

func notFound(kind, id string) error {
	return status.Errorf(codes.NotFound, "%s %q does not exist", kind, id)
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func now() int64 { return time.Now().UnixNano() }

// publish tells of a change. The caller holds r.mu, so that events carry what is true at their time.
func (r *Runtime) publish(kind runtimeapi.ContainerEventType, id string, s *sandbox) {
	r.events.publish(&runtimeapi.ContainerEventResponse{
		ContainerId: id, ContainerEventType: kind, CreatedAt: now(),
		PodSandboxStatus: s.status(), ContainersStatuses: r.containerStatuses(s),
	})
}
