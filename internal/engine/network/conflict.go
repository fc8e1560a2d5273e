package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/escale-dev/escale/internal/engine"
)

// claim is a prefix that the machine uses for something else.
type claim struct {
	prefix netip.Prefix
	// device is the name of the interface, or what stands in for one.
	device string
}

// CheckConflict refuses a plan that overlaps what the machine uses for something else than a platform.
func CheckConflict(plan engine.Network) error {
	claims, err := claims()
	if err != nil {
		return err
	}
	return conflict(plan, claims)
}

// conflict decides whether a plan overlaps a claim. The error names a network that does not.
func conflict(plan engine.Network, claims []claim) error {
	whole := netip.PrefixFrom(plan.Pods.Addr(), wholeBits)
	for _, c := range claims {
		if c.prefix.Overlaps(whole) {
			return fmt.Errorf("network %s overlaps %s of interface %q: choose another with --network%s", whole, c.prefix, c.device, suggestion(claims))
		}
	}
	return nil
}

// wholeBits is the length of the prefix that holds pods and Services.
const wholeBits = 15

// suggestion is a network free of claims as the value of the flag, or nothing if there is none.
func suggestion(claims []claim) string {
	for _, first := range [][2]byte{{10, 88}, {10, 188}, {10, 214}, {10, 28}, {172, 24}, {172, 18}, {198, 18}} {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{first[0], first[1]}), wholeBits)
		if free(p, claims) {
			return " " + p.String()
		}
	}
	return ""
}

func free(p netip.Prefix, claims []claim) bool {
	for _, c := range claims {
		if c.prefix.Overlaps(p) {
			return false
		}
	}
	return true
}

// claims lists the addresses and routes of the machine, less the default route and those of a platform.
func claims() ([]claim, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	names, own := map[int]string{}, map[int]bool{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		own[l.Attrs().Index] = ours(l.Type(), l.Attrs().Name)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var found []claim
	add := func(n *net.IPNet, link int) {
		if p, ok := prefix(n); ok && p.Bits() > 0 && !own[link] {
			found = append(found, claim{prefix: p, device: names[link]})
		}
	}
	for _, a := range addrs {
		add(a.IPNet, a.LinkIndex)
	}
	for _, r := range routes {
		if r.Protocol != routeProtocol {
			add(r.Dst, r.LinkIndex)
		}
	}
	return found, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones).Masked(), true
}
