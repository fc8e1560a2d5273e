package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/controlplane"
	"github.com/escale-dev/escale/internal/engine/network"
	"github.com/escale-dev/escale/internal/engine/network/dns"
	"github.com/escale-dev/escale/internal/engine/network/proxy"
	"github.com/escale-dev/escale/internal/engine/node"
	"github.com/escale-dev/escale/internal/engine/registry"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Config of a platform.
type Config struct {
	// Dir is the data directory.
	Dir engine.Dir
	// Network is the address plan's prefix.
	Network string
	// Nodes is how many nodes a new platform starts with. One that exists keeps the nodes it has.
	Nodes int
	// Listeners are the sockets the platform answers on, by name; see Ports.
	Listeners map[string]net.Listener
	// Isolation is "host" or "private": whose network the pods are on.
	Isolation string
	// ContainerdSocket is where containerd listens, if it does.
	ContainerdSocket string
	// Version of this program.
	Version string
	// Report is told what happens during the start.
	Report Reporter
	// Ready is called once, in its own goroutine, when the platform is ready; the platform stops when it fails.
	Ready func(ctx context.Context, s engine.State) error
}

// Reporter shows a start to a person.
type Reporter interface {
	// Waiting says what is being waited for now.
	Waiting(what string)
	// Done says that a stage is over and how long it took.
	Done(stage string, took time.Duration)
}

// Platform is a running platform.
type Platform struct {
	cfg      Config
	network  engine.Network
	log      *slog.Logger
	timeline *timeline.Timeline
	host     *network.Host
	control  *controlplane.ControlPlane
	nodes    *node.Supervisor
	web      *web.Server

	// failed receives the reason why a part ended that should not have.
	failed chan error
	// nodesReady receives the result of waiting for the first nodes.
	nodesReady chan error
	// stop holds what undoes the start, newest last.
	stop []undo
	// views are what the platform shows of itself, by name.
	views map[string]view

	mu    sync.Mutex
	state engine.State
}

// undo stops one part.
type undo struct {
	what string
	stop func()
}

// Run starts a platform and keeps it running until ctx ends or a part of it fails. It stops everything it started, in
// mirror order, before it returns.
func Run(ctx context.Context, cfg Config) (err error) {
	plan, err := engine.NewNetwork(cfg.Network)
	if err != nil {
		return err
	}
	log, closeDir, err := openDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer closeDir()

	p := &Platform{cfg: cfg, network: plan, log: log, failed: make(chan error, 1)}
	p.state = engine.State{
		State: "starting", PID: os.Getpid(), Version: cfg.Version, StartedAt: time.Now(), Stages: []engine.Stage{},
		Kubeconfig: cfg.Dir.Kubeconfig(), Isolation: cfg.Isolation,
		GatewayURL: "http://" + cfg.Listeners[PortGateway].Addr().String(),
		Registry:   cfg.Listeners[PortRegistry].Addr().String(),
	}
	defer func() {
		p.stopAll()
		p.update(func(s *engine.State) { s.State, s.Message = outcome(err) })
	}()
	if err := p.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	go func() {
		if err := cfg.Ready(ctx, p.State()); err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

func outcome(err error) (state, message string) {
	if err != nil {
		return "failed", err.Error()
	}
	return "stopped", ""
}

// start brings the parts up in order, each with what undoes it.
func (p *Platform) start(ctx context.Context) error {
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"the network", p.startNetwork},
		{"the control plane", p.startControlPlane},
		{"definitions to be served", p.startDefinitions},
		{"capabilities", p.startCapabilities},
		{"nodes", p.waitNodes},
	} {
		p.cfg.Report.Waiting(step.what)
		p.update(func(s *engine.State) { s.Message = "waiting for " + step.what })
		if err := step.run(ctx); err != nil {
			return err
		}
	}
	p.update(func(s *engine.State) { s.State, s.Message = "ready", "" })
	p.timeline.Add(timeline.Record{
		Time: time.Now(), Actor: "platform", Action: "started", Reason: "all nodes are ready", Stages: p.stages(),
		Object: timeline.Object{Kind: "Platform", Name: p.cfg.Isolation},
	})
	return nil
}

func (p *Platform) stages() []timeline.Stage {
	var out []timeline.Stage
	for _, s := range p.State().Stages {
		out = append(out, timeline.Stage{Name: s.Name, Duration: s.Duration})
	}
	return out
}

// done records a finished stage.
func (p *Platform) done(stage string, took time.Duration) {
	p.cfg.Report.Done(stage, took)
	p.update(func(s *engine.State) { s.Stages = append(s.Stages, engine.Stage{Name: stage, Duration: took}) })
}

// State is what the platform says of itself.
func (p *Platform) State() engine.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// update changes the state and writes it. A state file that cannot be written is not worth stopping for.
func (p *Platform) update(change func(*engine.State)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.state)
	if err := p.cfg.Dir.WriteState(p.state); err != nil {
		p.log.Error("state file not written", "err", err)
	}
}

// fail ends the platform for this reason, unless another came first.
func (p *Platform) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// background runs a part until the platform stops. A part that ends before is a failure of the platform.
func (p *Platform) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		p.fail(fmt.Errorf("%s: %w", name, err))
	}()
	p.onStop(name, func() { cancel(); <-done })
}

func (p *Platform) onStop(what string, f func()) { p.stop = append(p.stop, undo{what, f}) }

// stopAll stops the parts, newest first. What their libraries write to standard error meanwhile, such as that a
// connection was closed, goes to the log.
func (p *Platform) stopAll() {
	unmute, err := mute(logFile(p.cfg.Dir))
	if err != nil {
		p.log.Error("standard error not sent to the log", "err", err)
	}
	defer unmute()
	for _, part := range slices.Backward(p.stop) {
		p.cfg.Report.Waiting(part.what + " to stop")
		part.stop()
	}
}

// startNetwork makes the addresses the other parts listen on.
func (p *Platform) startNetwork(context.Context) (err error) {
	begun := time.Now()
	if p.timeline, err = timeline.Open(p.cfg.Dir.Timeline()); err != nil {
		return err
	}
	p.onStop("the timeline", func() { _ = p.timeline.Close() })
	if p.host, err = network.Setup(p.network, p.log); err != nil {
		return err
	}
	p.onStop("the network", func() {
		if err := p.host.Close(); err != nil {
			p.log.Error("network not removed", "err", err)
		}
	})
	if p.cfg.Isolation == IsolationPrivate {
		err = p.listenInside()
	}
	p.done("network", time.Since(begun))
	return err
}

// listenInside makes the sockets that were opened on the machine's network answer on the platform's own as well.
func (p *Platform) listenInside() (err error) {
	for name, l := range p.cfg.Listeners {
		if p.cfg.Listeners[name], err = network.Merge(l, l.Addr().String()); err != nil {
			return fmt.Errorf("opening the %s port: %w", name, err)
		}
	}
	return nil
}

// startControlPlane starts the control plane and, as soon as it answers, the nodes: they take longest to be ready.
func (p *Platform) startControlPlane(ctx context.Context) error {
	listener, err := p.apiListener()
	if err != nil {
		return err
	}
	cpCtx, cancel := context.WithCancel(context.Background())
	unhook := context.AfterFunc(ctx, cancel)
	p.control, err = controlplane.Start(cpCtx, controlplane.Config{
		Dir: p.cfg.Dir, Network: p.network, Listener: listener, LogFile: logFile(p.cfg.Dir), Log: p.log, Stage: p.done,
	})
	unhook()
	if err != nil {
		cancel()
		return err
	}
	go func() {
		if err := p.control.Wait(); err != nil {
			p.fail(err)
		}
	}()
	p.onStop("the control plane", func() { cancel(); _ = p.control.Wait() })
	return p.startNodes(ctx)
}

// apiListener makes the API server answer on this machine's loopback address and on the one pods see.
func (p *Platform) apiListener() (net.Listener, error) {
	outer := p.cfg.Listeners[PortAPI]
	port := outer.Addr().(*net.TCPAddr).Port
	return network.Merge(outer, net.JoinHostPort(p.network.Host().String(), strconv.Itoa(port)))
}

// startNodes starts the nodes that exist, or the first ones.
func (p *Platform) startNodes(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	p.nodes = node.NewSupervisor(node.SupervisorConfig{
		Executable: self, Dir: p.cfg.Dir, Log: p.log, Event: p.nodeEvent,
	})
	p.background("nodes", p.nodes.Run)
	have, err := node.Saved(p.cfg.Dir)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		if have, err = node.Plan(p.network, nil, p.cfg.Nodes); err != nil {
			return err
		}
	}
	for _, n := range have {
		if err := p.startNode(ctx, n); err != nil {
			return err
		}
	}
	p.nodesReady = make(chan error, 1)
	begun := time.Now()
	go func() {
		err := p.watchNodes(ctx, names(have))
		if err == nil {
			p.done("nodes", time.Since(begun))
		}
		p.nodesReady <- err
	}()
	return nil
}

// startNode starts one node, with an equal share of the machine unless it has a size of its own.
func (p *Platform) startNode(ctx context.Context, n engine.NodeConfig) error {
	addr, err := parseAddr(n.Address)
	if err != nil {
		return fmt.Errorf("node %q: %w", n.Name, err)
	}
	if err := p.host.AddNode(addr); err != nil {
		return fmt.Errorf("node %q: %w", n.Name, err)
	}
	n.Dir = p.cfg.Dir.Node(n.Name)
	n.Images = p.cfg.Dir.Images()
	// containerd's pods are on the machine's network, out of reach of a private one.
	n.ContainerdSocket = ""
	if p.cfg.Isolation == IsolationHost {
		n.ContainerdSocket = p.cfg.ContainerdSocket
	}
	n.DNSUpstream = net.JoinHostPort(p.network.Host().String(), "53")
	n.PlatformAddress = p.network.Host().String()
	if n.CPUMillis == 0 {
		n.CPUMillis = int64(runtime.NumCPU()) * 1000 / int64(max(p.cfg.Nodes, 1))
	}
	if n.MemoryBytes == 0 {
		memory, err := machineMemory()
		if err != nil {
			return err
		}
		n.MemoryBytes = memory / int64(max(p.cfg.Nodes, 1))
	}
	if err := p.control.NodeCredentials(&n); err != nil {
		return fmt.Errorf("node %q: %w", n.Name, err)
	}
	return p.nodes.Start(ctx, n)
}

func (p *Platform) nodeEvent(name, event, reason string) {
	p.timeline.Add(timeline.Record{
		Time: time.Now(), Actor: "engine", Action: event, Reason: reason,
		Object: timeline.Object{Kind: "Node", Name: name},
	})
}

// startDefinitions installs what the cluster must hold and starts the parts that need only the API server.
func (p *Platform) startDefinitions(ctx context.Context) error {
	begun := time.Now()
	admin := p.control.Admin()
	c, err := client.NewWithWatch(admin, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := applyDefinitions(ctx, c); err != nil {
		return err
	}
	objects, err := p.clusterObjects()
	if err != nil {
		return err
	}
	if err := applyObjects(ctx, c, objects); err != nil {
		return err
	}
	p.done("definitions", time.Since(begun))
	p.startClusterNetwork(admin)
	p.background("registry", func(ctx context.Context) error {
		return registry.Serve(ctx, p.cfg.Listeners[PortRegistry], p.cfg.Dir.Registry(), p.log)
	})
	return nil
}

// startClusterNetwork starts Service addresses and the cluster's resolver.
func (p *Platform) startClusterNetwork(admin *rest.Config) {
	p.background("service proxy", func(ctx context.Context) error { return proxy.Run(ctx, admin, p.network, p.log) })
	p.background("resolver", func(ctx context.Context) error {
		return dns.RunCluster(ctx, dns.ClusterConfig{Address: p.network.Host(), Kubeconfig: p.cfg.Dir.Kubeconfig()})
	})
}
