// Package engine holds what the platform process, its node processes and the command line must agree on: where files
// are, which addresses are whose, how a node is described and what the state file says.
//
// It starts nothing and imports the standard library only. The parts that run are in the folders below it.
package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Dir is the data directory of one platform. Everything the platform keeps is below it.
type Dir string

// Kubeconfig of the cluster's administrator, mode 0600.
func (d Dir) Kubeconfig() string { return filepath.Join(string(d), "kubeconfig") }

// StateFile says what the running platform is doing; see State.
func (d Dir) StateFile() string { return filepath.Join(string(d), "state.json") }

// PKI holds certificates and keys, mode 0700.
func (d Dir) PKI() string { return filepath.Join(string(d), "pki") }

// Etcd holds the cluster's data.
func (d Dir) Etcd() string { return filepath.Join(string(d), "etcd") }

// Registry holds the blobs of the registry.
func (d Dir) Registry() string { return filepath.Join(string(d), "registry") }

// Images holds unpacked images, one folder per digest, shared by all nodes.
func (d Dir) Images() string { return filepath.Join(string(d), "images") }

// Portal holds the sessions of the portal.
func (d Dir) Portal() string { return filepath.Join(string(d), "portal") }

// Timeline holds the records of what the platform did.
func (d Dir) Timeline() string { return filepath.Join(string(d), "timeline") }

// Signals holds the recording of the signals.
func (d Dir) Signals() string { return filepath.Join(string(d), "signals") }

// Node is the folder of one node: its configuration, its kubelet's root, its log.
func (d Dir) Node(name string) string { return filepath.Join(string(d), "nodes", name) }

// Network is the address plan of one platform. One prefix is cut in two: the lower half for pods and nodes, the upper
// for Services. The first block of the lower half is the platform's own, each node has the next one, and the last
// belongs to containerd.
type Network struct {
	// Pods holds every pod and node address.
	Pods netip.Prefix
	// Services holds every Service address.
	Services netip.Prefix
}

// DefaultNetwork is the prefix used unless the user names another.
const DefaultNetwork = "10.42.0.0/15"

// nodeBits is the length of a node's prefix: 1,022 pod addresses.
const nodeBits = 22

// NewNetwork cuts cidr, an IPv4 prefix of /15 exactly, into its halves.
func NewNetwork(cidr string) (Network, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return Network{}, fmt.Errorf("network %q: %w", cidr, err)
	}
	if !p.Addr().Is4() || p.Bits() != 15 || p.Masked() != p {
		return Network{}, fmt.Errorf("network %q: want an IPv4 prefix of /15 with an even second number, such as %s", cidr, DefaultNetwork)
	}
	b := p.Addr().As4()
	upper := b
	upper[1]++
	return Network{
		Pods:     netip.PrefixFrom(netip.AddrFrom4(b), 16),
		Services: netip.PrefixFrom(netip.AddrFrom4(upper), 16),
	}, nil
}

// Host is the platform's address as pods see it: the API server and the resolver listen on it.
func (n Network) Host() netip.Addr { return n.Pods.Addr().Next() }

// Gateways is the platform's own block, whose addresses, from the sixteenth on, Gateways are given. Each is the
// machine's, as Host is.
func (n Network) Gateways() netip.Prefix { return n.block(0) }

// Bridge is the name of the network interface that holds the platform's and the nodes' addresses.
func (n Network) Bridge() string {
	b := n.Pods.Addr().As4()
	return fmt.Sprintf("escale-%d-%d", b[0], b[1])
}

// MaxNodes is how many nodes the plan has room for.
const MaxNodes = 62

// Node is the address of node i, counted from 0, and the prefix its pods take theirs from; the node's own address is
// the first of it.
func (n Network) Node(i int) (netip.Addr, netip.Prefix, error) {
	if i < 0 || i >= MaxNodes {
		return netip.Addr{}, netip.Prefix{}, fmt.Errorf("node %d: the network has room for %d nodes", i, MaxNodes)
	}
	p := n.block(i + 1)
	return p.Addr().Next(), p, nil
}

// Containerd is the prefix for pods that containerd runs.
func (n Network) Containerd() netip.Prefix { return n.block(MaxNodes + 1) }

// DNSService is the address of the cluster's DNS Service.
func (n Network) DNSService() netip.Addr {
	b := n.Services.Addr().As4()
	b[3] = 10
	return netip.AddrFrom4(b)
}

func (n Network) block(i int) netip.Prefix {
	b := n.Pods.Addr().As4()
	b[2] = byte(i << (24 - nodeBits))
	return netip.PrefixFrom(netip.AddrFrom4(b), nodeBits)
}

// NodeConfig is all a node process is told. The platform writes it as JSON, mode 0600, into the node's folder.
type NodeConfig struct {
	// Name of the Node object.
	Name string `json:"name"`
	// Zone becomes the label topology.kubernetes.io/zone.
	Zone string `json:"zone"`
	// Address of the node: its kubelet listens on port 10250 there, its resolver on port 53.
	Address string `json:"address"`
	// PodCIDR is where the process runtime takes pod addresses from.
	PodCIDR string `json:"podCIDR"`
	// PlatformAddress is Network.Host: the source address of what the machine sends to pods.
	PlatformAddress string `json:"platformAddress"`
	// DNSUpstream is the cluster's resolver, host:port, which the node's cache asks.
	DNSUpstream string `json:"dnsUpstream"`
	// Kubeconfig is the file with the node's credentials.
	Kubeconfig string `json:"kubeconfig"`
	// ClientCA is the file with the authority whose clients the kubelet trusts.
	ClientCA string `json:"clientCA"`
	// ServingCert and ServingKey are the files the kubelet's server presents.
	ServingCert string `json:"servingCert"`
	ServingKey  string `json:"servingKey"`
	// Dir is the node's folder.
	Dir string `json:"dir"`
	// Images is the folder of unpacked images, shared by the nodes.
	Images string `json:"images"`
	// ContainerdSocket is the path of containerd's socket; the node looks for it whenever a pod asks for a container.
	ContainerdSocket string `json:"containerdSocket"`
	// CPUMillis and MemoryBytes are what pods may reserve on this node.
	CPUMillis   int64 `json:"cpuMillis"`
	MemoryBytes int64 `json:"memoryBytes"`
	// Cordoned registers the node as unschedulable.
	Cordoned bool `json:"cordoned,omitempty"`
}

// State is what a platform says of itself in Dir.StateFile, for the command line and scripts.
type State struct {
	// State is "starting", "ready", "failed" or "stopped".
	State string `json:"state"`
	// Message says what a starting platform waits for, or why it failed.
	Message string `json:"message,omitempty"`
	// PID of the platform process.
	PID int `json:"pid"`
	// Version of the program.
	Version string `json:"version"`
	// StartedAt is when the process started.
	StartedAt time.Time `json:"startedAt"`
	// Stages of the start, in order.
	Stages []Stage `json:"stages"`
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// GatewayURL is the address of the gateway, such as "http://127.0.0.1:8080".
	GatewayURL string `json:"gatewayURL,omitempty"`
	// PortalURL is the address of the portal with its one-time token.
	PortalURL string `json:"portalURL,omitempty"`
	// Registry is the host:port `escale deploy` pushes to.
	Registry string `json:"registry,omitempty"`
	// Isolation says what the machine allowed: "host" or "private".
	Isolation string `json:"isolation,omitempty"`
}

// Stage is one step of the start and how long it took.
type Stage struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"durationNanoseconds"`
}

// WriteState replaces the state file at once.
func (d Dir) WriteState(s State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding state: %w", err)
	}
	tmp := d.StateFile() + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	if err := os.Rename(tmp, d.StateFile()); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return nil
}

// ErrNoPlatform says that a data directory holds no platform.
var ErrNoPlatform = errors.New("no platform is here")

// ReadState reads the state file; ErrNoPlatform where there is none.
func (d Dir) ReadState() (State, error) {
	b, err := os.ReadFile(d.StateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, fmt.Errorf("%s: %w", d, ErrNoPlatform)
	}
	if err != nil {
		return State{}, fmt.Errorf("reading state: %w", err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("reading state %q: %w", d.StateFile(), err)
	}
	return s, nil
}

// DefaultDir is the data directory used unless the user names one: /var/lib/escale for root, else below
// $XDG_DATA_HOME or ~/.local/share.
func DefaultDir() Dir {
	if os.Geteuid() == 0 {
		return "/var/lib/escale"
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return Dir(filepath.Join(d, "escale"))
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return Dir(filepath.Join(os.TempDir(), fmt.Sprintf("escale-%d", os.Getuid())))
	}
	return Dir(filepath.Join(home, ".local", "share", "escale"))
}
