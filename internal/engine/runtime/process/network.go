package process

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// podInterface is the name of a pod's interface inside the pod.
const podInterface = "eth0"

// podSysctls let programs that are not root listen on any port and use ping, as in other runtimes: inside a network
// namespace of its own there is nobody to protect from that.
var podSysctls = map[string]string{
	"net.ipv4.ip_unprivileged_port_start": "0",
	"net.ipv4.ping_group_range":           "0 2147483647",
}

// router connects pods with the machine.
type router struct {
	host   netip.Addr
	node   netip.Addr
	handle *netlink.Handle
	// hostNS is the network namespace of the node process.
	hostNS *os.File
}

func newRouter(host, node netip.Addr) (*router, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("opening a route socket: %w", err)
	}
	return &router{host: host, node: node, handle: handle, hostNS: ns}, nil
}

func (r *router) close() error {
	r.handle.Close()
	return r.hostNS.Close()
}

// podSpace are the namespaces of a sandbox. A nil file is the machine's namespace.
type podSpace struct {
	net, ipc, uts *os.File
	// veth is the host side's index; 0 in the machine's network.
	veth int
}

// spaceRequest says which namespaces a sandbox gets.
type spaceRequest struct {
	id       string
	hostname string
	address  netip.Addr
	sysctls  map[string]string
	hostNet  bool
	hostIPC  bool
}

// open makes the namespaces on a thread that ends afterwards, and connects them.
func (r *router) open(req spaceRequest) (*podSpace, error) {
	var space *podSpace
	var err error
	onOwnThread(func() { space, err = r.make(req) })
	if err != nil || req.hostNet {
		return space, err
	}
	if err := r.connect(space, req); err != nil {
		return nil, errors.Join(err, space.close())
	}
	return space, nil
}

// onOwnThread runs f on a thread that ends with it, so that f may leave the machine's namespaces. It is never the
// program's first thread: that one does not end, and is the one whose namespaces /proc/self and /proc/net show.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// make runs on a thread of its own.
func (r *router) make(req spaceRequest) (*podSpace, error) {
	flags := 0
	if !req.hostNet {
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !req.hostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if err := unix.Unshare(flags); err != nil {
		return nil, fmt.Errorf("making the pod's namespaces: %w", err)
	}
	space, err := openSpace(req)
	if err != nil {
		return nil, err
	}
	if req.hostNet {
		return space, nil
	}
	if err := r.configure(req); err != nil {
		return nil, errors.Join(err, space.close())
	}
	return space, nil
}

func openSpace(req spaceRequest) (*podSpace, error) {
	s := &podSpace{}
	var err error
	open := func(kind string, skip bool) *os.File {
		if skip || err != nil {
			return nil
		}
		var f *os.File
		f, err = os.Open("/proc/thread-self/ns/" + kind)
		return f
	}
	s.net, s.uts, s.ipc = open("net", req.hostNet), open("uts", req.hostNet), open("ipc", req.hostIPC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the pod's namespaces: %w", err), s.close())
	}
	return s, nil
}

// configure sets up the inside of the pod's network, with the calling thread in it.
func (r *router) configure(req spaceRequest) error {
	if err := unix.Sethostname([]byte(req.hostname)); err != nil {
		return fmt.Errorf("setting host name %q: %w", req.hostname, err)
	}
	if err := writeSysctls(req.sysctls); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a route socket in the pod: %w", err)
	}
	defer h.Close()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: podInterface},
		PeerName:      hostInterface(req.id),
		PeerNamespace: netlink.NsFd(r.hostNS.Fd()),
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding the pod's interface: %w", err)
	}
	return r.address(h, req.address)
}

func (r *router) address(h *netlink.Handle, address netip.Addr) error {
	eth, err := h.LinkByName(podInterface)
	if err != nil {
		return fmt.Errorf("finding the pod's interface: %w", err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the pod's loopback: %w", err)
	}
	index := eth.Attrs().Index
	err = errors.Join(
		h.LinkSetUp(lo),
		h.AddrAdd(eth, &netlink.Addr{IPNet: single(address)}),
		h.LinkSetUp(eth),
		h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: single(r.node), Scope: netlink.SCOPE_LINK, Src: address.AsSlice()}),
		h.RouteAdd(&netlink.Route{LinkIndex: index, Gw: r.node.AsSlice(), Src: address.AsSlice()}),
	)
	if err != nil {
		return fmt.Errorf("configuring the pod's address %s: %w", address, err)
	}
	return nil
}

// connect sets up the host's side: the route to the pod. Packets of the machine itself carry the platform's address,
// so that a pod can answer them.
func (r *router) connect(s *podSpace, req spaceRequest) error {
	name := hostInterface(req.id)
	link, err := r.handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding interface %q: %w", name, err)
	}
	s.veth = link.Attrs().Index
	if err := r.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("starting interface %q: %w", name, err)
	}
	// Replace, since the route of a node that was killed may still be vanishing.
	route := &netlink.Route{LinkIndex: s.veth, Dst: single(req.address), Scope: netlink.SCOPE_LINK, Src: r.host.AsSlice()}
	if err := r.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("adding the route to pod address %s: %w", req.address, err)
	}
	return awaitCarrier(s.net)
}

// The kernel notices some milliseconds after both ends of a pair are up that packets can pass. The first packet of a
// connection made before is lost, and with it the second until it is sent again.
const (
	carrierStep = time.Millisecond
	carrierMost = 300 * time.Millisecond
)

// awaitCarrier waits until the pod's end of its pair carries packets. A kernel that takes longer than it should is left
// to do so: the pod works then, with a slow first connection.
func awaitCarrier(pod *os.File) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(pod.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a route socket in the pod: %w", err)
	}
	defer h.Close()
	for range carrierMost / carrierStep {
		eth, err := h.LinkByName(podInterface)
		if err != nil {
			return fmt.Errorf("finding the pod's interface: %w", err)
		}
		if eth.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(carrierStep)
	}
	return nil
}

// traffic returns what went through pods' interfaces, by index of the host side. Receiving and sending are told from
// the pod's point of view.
func (r *router) traffic() (map[int]netlink.LinkStatistics, error) {
	links, err := r.handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	all := map[int]netlink.LinkStatistics{}
	for _, l := range links {
		a := l.Attrs()
		if s := a.Statistics; s != nil && strings.HasPrefix(a.Name, interfacePrefix) {
			all[a.Index] = netlink.LinkStatistics{
				RxBytes: s.TxBytes, TxBytes: s.RxBytes, RxErrors: s.TxErrors, TxErrors: s.RxErrors,
			}
		}
	}
	return all, nil
}

// close lets go of the namespaces. The kernel then removes them with their interfaces and routes, in its own time.
func (s *podSpace) close() error { return closeAll(s.net, s.ipc, s.uts) }

// files are the namespaces to join.
func (s *podSpace) files() []*os.File {
	var fs []*os.File
	for _, f := range []*os.File{s.net, s.ipc, s.uts} {
		if f != nil {
			fs = append(fs, f)
		}
	}
	return fs
}

// dialInside connects to a port of a pod from inside its network namespace, so that programs that listen on the pod's
// loopback are reached.
func dialInside(ns *os.File, port int32) (conn net.Conn, err error) {
	onOwnThread(func() {
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("entering the pod's network: %w", err)
			return
		}
		conn, err = dialLoopback(port)
	})
	return conn, err
}

func dialLoopback(port int32) (net.Conn, error) {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// writeSysctls sets network parameters of the calling thread's namespace. The defaults are set where possible, those
// a pod asks for must be.
func writeSysctls(wanted map[string]string) error {
	for name, value := range podSysctls {
		if _, ok := wanted[name]; !ok {
			_ = os.WriteFile(sysctlPath(name), []byte(value), 0o644)
		}
	}
	for name, value := range wanted {
		if !strings.HasPrefix(name, "net.") || strings.Contains(name, "/") {
			return fmt.Errorf("sysctl %q: only those of the pod's network (net.*) can be set", name)
		}
		if err := os.WriteFile(sysctlPath(name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl %q: %w", name, err)
		}
	}
	return nil
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

const interfacePrefix = "esc"

// hostInterface names the host side of a sandbox; an interface's name has at most 15 bytes.
func hostInterface(id string) string { return interfacePrefix + id[:12] }

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
