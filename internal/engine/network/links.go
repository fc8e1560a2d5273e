package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/escale-dev/escale/internal/engine"
)

// routeProtocol marks the routes made here, so that they are found again whatever their prefix was. Numbers above 4 are
// free for administrators to choose; see rtnetlink(7).
const routeProtocol netlink.RouteProtocol = 0xe5

// bridgeName is what engine.Network.Bridge gives for any plan.
var bridgeName = regexp.MustCompile(`^escale-\d{1,3}-\d{1,3}$`)

// ours tells whether a platform made an interface: its bridge, or a pod's veth.
func ours(kind, name string) bool {
	switch kind {
	case "bridge":
		return bridgeName.MatchString(name)
	case "veth":
		return strings.HasPrefix(name, "esc")
	}
	return false
}

func addBridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("making bridge %q: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("starting bridge %q: %w", name, err)
	}
	return nil
}

// changeAddress applies change to an address of its own, without a subnet, on the named interface.
func changeAddress(name string, addr netip.Addr, change func(netlink.Link, *netlink.Addr) error) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding bridge %q: %w", name, err)
	}
	if err := change(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, addr.BitLen()))}); err != nil {
		return fmt.Errorf("changing address %s of bridge %q: %w", addr, name, err)
	}
	return nil
}

func removeAddress(link netlink.Link, addr *netlink.Addr) error {
	if err := netlink.AddrDel(link, addr); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// addRoutes says where the two prefixes lead. A pod address that no pod has is unreachable at once: without this route
// it would go to the default gateway and time out. Service addresses never leave the machine, because packets to them
// get another destination before they are sent; their route gives connections of the machine itself the platform's
// address as source, which pods can answer. It leads to the bridge, because the kernel sends no ICMP about packets that
// are on their way to the loopback interface, and refusals would be lost.
func addRoutes(plan engine.Network) error {
	bridge, err := netlink.LinkByName(plan.Bridge())
	if err != nil {
		return fmt.Errorf("finding bridge %q: %w", plan.Bridge(), err)
	}
	routes := []*netlink.Route{
		{Dst: ipNet(plan.Pods), Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol},
		{Dst: ipNet(plan.Services), LinkIndex: bridge.Attrs().Index, Src: plan.Host().AsSlice(), Scope: unix.RT_SCOPE_LINK, Protocol: routeProtocol},
	}
	for _, r := range routes {
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("adding a route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

// removeLinks removes the bridges and veths of all platforms. A veth may vanish by itself in the meantime, with the pod
// at its other end.
func removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	var errs []error
	for _, l := range links {
		if !ours(l.Type(), l.Attrs().Name) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("removing interface %q: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

func removeRoutes() error {
	filter := &netlink.Route{Protocol: routeProtocol}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("removing the route to %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
