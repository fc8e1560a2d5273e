package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"        // directive bind
	_ "github.com/coredns/coredns/plugin/cache"       // directive cache
	_ "github.com/coredns/coredns/plugin/errors"      // directive errors
	_ "github.com/coredns/coredns/plugin/forward"     // directive forward
	_ "github.com/coredns/coredns/plugin/loadbalance" // directive loadbalance
	_ "github.com/coredns/coredns/plugin/template"    // directive template
)

// ClusterConfig is what the cluster's resolver needs.
type ClusterConfig struct {
	// Address is the platform's; the resolver listens on port 53 there, UDP and TCP.
	Address netip.Addr
	// Kubeconfig is the file that names the API server.
	Kubeconfig string
	// ResolvConf is the file that names the machine's resolvers. Default: /etc/resolv.conf.
	ResolvConf string
}

// NodeConfig is what a node's cache needs.
type NodeConfig struct {
	// Address is the node's; the cache listens on port 53 there, UDP and TCP.
	Address netip.Addr
	// Upstream is the cluster's resolver, host:port.
	Upstream string
}

// rereadInterval is how often the file with the machine's resolvers is read.
const rereadInterval = 5 * time.Second

// RunCluster is the cluster's resolver until ctx ends. It answers at once, for the zone of the cluster after it has seen
// the API server's Services, which it waits for up to five seconds.
func RunCluster(ctx context.Context, cfg ClusterConfig) error {
	tick := time.NewTicker(rereadInterval)
	defer tick.Stop()
	return runCluster(ctx, cfg, tick.C)
}

func runCluster(ctx context.Context, cfg ClusterConfig, reread <-chan time.Time) error {
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	outside := readResolvers(cfg.ResolvConf, cfg.Address)
	s, err := start(clusterCorefile(cfg, outside))
	if err != nil {
		return fmt.Errorf("cluster's resolver on %s: %w", cfg.Address, err)
	}
	for {
		select {
		case <-ctx.Done():
			return s.stop()
		case <-reread:
		}
		now := readResolvers(cfg.ResolvConf, cfg.Address)
		if slices.Equal(now, outside) {
			continue
		}
		if err := s.replace(clusterCorefile(cfg, now)); err != nil {
			return errors.Join(fmt.Errorf("cluster's resolver on %s: following %q: %w", cfg.Address, cfg.ResolvConf, err), s.stop())
		}
		outside = now
	}
}

// RunNode is a node's cache until ctx ends.
func RunNode(ctx context.Context, cfg NodeConfig) error {
	s, err := start(nodeCorefile(cfg))
	if err != nil {
		return fmt.Errorf("node's resolver on %s: %w", cfg.Address, err)
	}
	<-ctx.Done()
	return s.stop()
}

// server is a running CoreDNS.
type server struct{ instance *caddy.Instance }

var (
	prepare sync.Once
	// starting serialises starts: the loader keeps what it parses in variables.
	starting sync.Mutex
)

// start returns when the server answers.
func start(corefile string) (*server, error) {
	prepare.Do(func() {
		caddy.Quiet, dnsserver.Quiet = true, true
		dnsserver.Directives = directives
		caddy.RegisterPlugin(servicesDirective, caddy.Plugin{ServerType: "dns", Action: setupServices})
	})
	starting.Lock()
	defer starting.Unlock()
	instance, err := caddy.Start(input(corefile))
	if err != nil {
		// What had started before the failure goes on otherwise.
		if instance != nil {
			err = errors.Join(err, (&server{instance}).stop())
		}
		return nil, err
	}
	return &server{instance}, nil
}

// replace changes the configuration without closing the sockets. After an error the old one goes on.
func (s *server) replace(corefile string) error {
	starting.Lock()
	defer starting.Unlock()
	next, err := s.instance.Restart(input(corefile))
	if err != nil {
		return err
	}
	s.instance = next
	return nil
}

func (s *server) stop() error {
	err := s.instance.Stop()
	return errors.Join(append(s.instance.ShutdownCallbacks(), err)...)
}

func input(corefile string) caddy.Input {
	return caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"}
}
