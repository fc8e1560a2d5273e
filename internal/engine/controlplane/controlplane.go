package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config of a control plane.
type Config struct {
	// Dir is the data directory.
	Dir engine.Dir
	// Network is the address plan.
	Network engine.Network
	// Listener is where the API server answers, over TLS. Its address must be a *net.TCPAddr; clients on this machine
	// reach it on 127.0.0.1 at that port.
	Listener net.Listener
	// LogFile receives etcd's warnings.
	LogFile string
	// Log receives what the control plane has to say.
	Log *slog.Logger
	// Stage is told when a step of the start is done and how long it took.
	Stage func(name string, took time.Duration)
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	creds *credentials
	admin *rest.Config
	done  chan struct{}
	err   error
}

// Start starts the control plane and returns once the API server is ready. It runs until ctx ends or a component
// fails; Wait tells which.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	addr, ok := cfg.Listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("the API server's listener has a %T, want a TCP address", cfg.Listener.Addr())
	}
	server := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(addr.Port))
	creds, err := openCredentials(cfg.Dir.PKI(), server, serverNames(cfg.Network), time.Now())
	if err != nil {
		return nil, err
	}
	if _, err := creds.kubeconfig(cfg.Dir.Kubeconfig(), server, "escale-admin", []string{"system:masters"}, time.Now()); err != nil {
		return nil, fmt.Errorf("writing the administrator's kubeconfig: %w", err)
	}
	admin, err := clientcmd.BuildConfigFromFlags("", cfg.Dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}
	admin.QPS, admin.Burst = 2000, 4000

	c := &ControlPlane{creds: creds, admin: admin, done: make(chan struct{})}
	return c, c.start(ctx, cfg)
}

func serverNames(n engine.Network) []string {
	return []string{
		"127.0.0.1", "localhost", n.Host().String(), n.Services.Addr().Next().String(),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
}

// start brings the components up in order. The API server outlives the two clients it serves, and etcd the API server,
// when ctx ends.
func (c *ControlPlane) start(ctx context.Context, cfg Config) error {
	begun := time.Now()
	lap := func(name string) { cfg.Stage(name, time.Since(begun)); begun = time.Now() }

	if err := os.MkdirAll(cfg.Dir.Etcd(), 0o700); err != nil {
		return fmt.Errorf("making etcd's folder: %w", err)
	}
	etcd, endpoint, err := startEtcd(ctx, cfg.Dir.Etcd(), cfg.LogFile, c.creds.etcdPeer, c.creds.etcd.certFile())
	if err != nil {
		return err
	}
	lap("etcd")

	// The API server stops after its clients, so it has a context of its own. It ends with the reason.
	serverCtx, stopServer := context.WithCancelCause(context.WithoutCancel(ctx))
	serve, err := apiServer(serverCtx, c.creds, endpoint, cfg.Network, cfg.Listener)
	if err != nil {
		stopServer(err)
		etcd.Close()
		return err
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		stopServer(fmt.Errorf("the API server stopped: %w", orEnded(serve(serverCtx))))
	}()
	halt := func() {
		stopServer(nil)
		select {
		case <-served:
		case <-time.After(5 * time.Second):
			cfg.Log.Warn("API server did not stop in time", "waited", "5s")
		}
		etcd.Close()
	}
	if err := c.waitReady(ctx, serverCtx); err != nil {
		halt()
		return err
	}
	lap("API server")

	clientsCtx, stopClients := context.WithCancel(ctx)
	clients, err := c.startClients(clientsCtx, cfg)
	if err != nil {
		stopClients()
		halt()
		return err
	}
	lap("controllers and scheduler")

	go func() {
		defer close(c.done)
		select {
		case <-ctx.Done():
		case c.err = <-clients:
		case <-serverCtx.Done():
			c.err = context.Cause(serverCtx)
		case err := <-etcd.Err():
			c.err = fmt.Errorf("etcd stopped: %w", orEnded(err))
		}
		stopClients()
		halt()
	}()
	return nil
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended by itself")
	}
	return err
}

// startClients starts the controller manager and the scheduler; the channel tells of the first that fails.
func (c *ControlPlane) startClients(ctx context.Context, cfg Config) (<-chan error, error) {
	now := time.Now()
	failed := make(chan error, 2)
	for _, part := range []struct {
		name, user string
		prepare    func(kubeconfig string) (func(context.Context) error, error)
	}{
		{"controller manager", "system:kube-controller-manager", func(k string) (func(context.Context) error, error) {
			return controllerManager(ctx, c.creds, k, cfg.Network)
		}},
		{"scheduler", "system:kube-scheduler", func(k string) (func(context.Context) error, error) {
			return kubeScheduler(ctx, k)
		}},
	} {
		path := filepath.Join(cfg.Dir.PKI(), user2file(part.user)+".kubeconfig")
		// Both are trusted parts of this process. The controller manager acts for every controller with one identity,
		// which upstream gives the administrator's rights as well.
		k, err := c.creds.kubeconfig(path, c.creds.server, part.user, []string{"system:masters"}, now)
		if err != nil {
			return nil, err
		}
		run, err := part.prepare(k)
		if err != nil {
			return nil, err
		}
		go func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("the %s stopped: %w", part.name, err)
			}
		}()
	}
	return failed, nil
}

// readyTry bounds one question to an API server that is not accepting connections yet.
const readyTry = time.Second

// waitReady waits until the API server answers that it is ready. server ends with the reason when it stops.
func (c *ControlPlane) waitReady(ctx, server context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	// The API server has no event for "ready" before it serves watches, so this asks.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(server, readyTry)
		err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(try).Error()
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-server.Done():
			return context.Cause(server)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server: %w (last answer: %w)", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Admin is a client configuration with all rights, for the platform itself.
func (c *ControlPlane) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// Wait blocks until the control plane has stopped and returns why, nil if it was asked to.
func (c *ControlPlane) Wait() error {
	<-c.done
	return c.err
}
