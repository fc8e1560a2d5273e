package node

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network/dns"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd"
	"github.com/escale-dev/escale/internal/engine/runtime/process"
)

const (
	// stopGrace is how many seconds containers have to end when the node stops.
	stopGrace = 6
	// stopTimeout bounds the stop; the supervisor kills the process soon after.
	stopTimeout = 8 * time.Second
)

// Run runs a node until ctx ends, then stops its pods. It leaves the Node object and the pods' records as they are. The
// kubelet cannot be stopped, so the process must end soon after Run returns; when the kubelet cannot go on, it ends the
// process itself.
func Run(ctx context.Context, c engine.NodeConfig) error {
	log := quiet()
	config, err := processConfig(c, log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of node %q: %w", c.Name, err)
	}
	runtime, err := process.New(config)
	if err != nil {
		return fmt.Errorf("node %q: %w", c.Name, err)
	}
	// The kubelet tells pods that names are resolved at the node's address, so neither goes on without the other; and
	// pods that finish their work while the node stops still resolve names.
	g, life := errgroup.WithContext(ctx)
	names, end := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		return dns.RunNode(names, dns.NodeConfig{Address: config.NodeAddress, Upstream: c.DNSUpstream})
	})
	g.Go(func() error {
		defer end()
		return serve(life, c, runtime)
	})
	return g.Wait()
}

// ProcessDir is where the process runtime of the node with this folder keeps its state.
func ProcessDir(nodeDir string) string { return filepath.Join(nodeDir, "process") }

func processConfig(c engine.NodeConfig, log *slog.Logger) (process.Config, error) {
	var errs [3]error
	out := process.Config{Node: c.Name, StateDir: ProcessDir(c.Dir), ImagesDir: c.Images, Log: log}
	out.NodeAddress, errs[0] = netip.ParseAddr(c.Address)
	out.Host, errs[1] = netip.ParseAddr(c.PlatformAddress)
	out.PodCIDR, errs[2] = netip.ParsePrefix(c.PodCIDR)
	if err := errors.Join(errs[:]...); err != nil {
		return out, fmt.Errorf("node %q: reading its addresses: %w", c.Name, err)
	}
	return out, nil
}

// serve runs the kubelet on top of the process runtime and containerd until ctx ends, then stops all pods. The process
// must end after it returns, because the kubelet does not.
func serve(ctx context.Context, c engine.NodeConfig, process cri) error {
	containers, err := newContainers(c)
	if err != nil {
		return err
	}
	router := NewRouter(process, containers)
	kubelet, err := startKubelet(c, router)
	if err != nil {
		return errors.Join(fmt.Errorf("node %q: %w", c.Name, err), router.Close(ctx))
	}
	watch := make(chan error, 1)
	go func() {
		watch <- router.Watch(ctx, func(uid string) { kubelet.RequestPodRelist(types.UID(uid)) })
	}()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-watch:
	}
	return errors.Join(err, stop(router, c))
}

// stop ends all pods and takes away the node's mounts.
func stop(router *Router, c engine.NodeConfig) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := errors.Join(router.Drain(ctx, stopGrace), router.Close(ctx), unmountBelow(rootDir(c)))
	if err != nil {
		return fmt.Errorf("stopping node %q: %w", c.Name, err)
	}
	return nil
}

// newContainers is the node's view of containerd.
func newContainers(c engine.NodeConfig) (*containerd.Runtime, error) {
	config := containerd.Config{
		Socket:  c.ContainerdSocket,
		Owner:   owner(c),
		Visible: visible(rootDir(c)),
	}
	if c.ContainerdSocket == "" {
		return containerd.New(config), nil
	}
	pods, err := netip.ParsePrefix(c.PodCIDR)
	if err != nil {
		return nil, fmt.Errorf("node %q: pod network: %w", c.Name, err)
	}
	network, err := engine.NewNetwork(netip.PrefixFrom(pods.Addr(), networkBits).Masked().String())
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", c.Name, err)
	}
	config.CNI = containerd.CNI{
		Dir:     containerd.CNIDir,
		State:   filepath.Join(filepath.Dir(filepath.Dir(c.Dir)), "cni"),
		Network: network,
	}
	return containerd.New(config), nil
}

// networkBits is the length of the prefix that holds all addresses of a platform.
const networkBits = 15

// owner marks a node's pods in the machine's containerd. Names repeat between platforms on one machine, folders do not.
func owner(c engine.NodeConfig) string {
	h := fnv.New32a()
	h.Write([]byte(c.Dir))
	return fmt.Sprintf("%s-%08x", c.Name, h.Sum32())
}

// quiet makes the log that the kubelet's warnings and errors go to, on standard error; the rest is dropped.
func quiet() *slog.Logger {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	klog.SetSlogLogger(log)
	return log
}
