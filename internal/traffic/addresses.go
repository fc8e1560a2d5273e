package traffic

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reservedAddresses is how many addresses at the start of the block are the platform's own.
const reservedAddresses = 16

// assigner gives Gateways addresses of the block, each to one Gateway.
type assigner struct {
	NetworkFacts
	first, last netip.Addr
	taken       map[netip.Addr]types.NamespacedName
	given       map[types.NamespacedName]netip.Addr
}

func newAssigner(n NetworkFacts) *assigner {
	a := &assigner{NetworkFacts: n, taken: map[netip.Addr]types.NamespacedName{}, given: map[types.NamespacedName]netip.Addr{}}
	if !n.Block.IsValid() {
		return a
	}
	a.first = n.Block.Masked().Addr()
	for range reservedAddresses {
		a.first = a.first.Next()
	}
	a.last = lastOf(n.Block)
	return a
}

// lastOf is the last address of a prefix that is not its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last.Prev()
}

// assign decides the addresses of every Gateway: first those that are asked for, then those that were given before,
// then free ones. Of two that ask for the same, the older has it.
func (a *assigner) assign(plans []*gatewayPlan) {
	if !a.own() {
		return
	}
	plans = slices.Clone(plans)
	slices.SortFunc(plans, func(p, q *gatewayPlan) int {
		return cmp.Or(p.object.CreationTimestamp.Compare(q.object.CreationTimestamp.Time),
			cmp.Compare(nameOf(p.object).String(), nameOf(q.object).String()))
	})
	for _, p := range plans {
		a.assignStatic(p)
	}
	for _, p := range plans {
		if !a.Block.IsValid() {
			p.addresses = []netip.Addr{{}}
		} else if p.automatic {
			a.keep(p)
		}
	}
	for _, p := range plans {
		if a.Block.IsValid() && p.automatic && len(p.addresses) == 0 {
			a.choose(p)
		}
	}
}

// assignStatic gives a Gateway the addresses its spec names, and notes whether it wants one that it does not name.
func (a *assigner) assignStatic(p *gatewayPlan) {
	specs := p.object.Spec.Addresses
	p.automatic = len(specs) == 0
	for i, s := range specs {
		switch {
		case s.Type != nil && *s.Type != gatewayv1.IPAddressType:
			p.refused = verdict{
				string(gatewayv1.GatewayReasonUnsupportedAddress),
				fmt.Sprintf("spec.addresses[%d]: type %q is not supported; use %q or none", i, *s.Type, gatewayv1.IPAddressType),
			}
		case s.Value == "":
			p.automatic = true
		default:
			if bad := a.claim(p, s.Value); bad != "" {
				p.unusable = verdict{string(gatewayv1.GatewayReasonAddressNotUsable), fmt.Sprintf("spec.addresses[%d]: %s", i, bad)}
			}
		}
	}
}

// claim takes an address for a Gateway, or says why it cannot have it.
func (a *assigner) claim(p *gatewayPlan, value string) string {
	if !a.Block.IsValid() {
		return fmt.Sprintf("addresses cannot be chosen here; remove %q", value)
	}
	addr, err := netip.ParseAddr(value)
	if err != nil || !a.usable(addr) {
		return fmt.Sprintf("%q is not an address that Gateways can have: choose one from %s to %s, or none", value, a.first, a.last)
	}
	if !a.take(p, addr) {
		return fmt.Sprintf("%q belongs to Gateway %q: choose another, or none", value, a.taken[addr])
	}
	return ""
}

func (a *assigner) usable(addr netip.Addr) bool {
	return a.Block.Contains(addr) && addr.Compare(a.first) >= 0 && addr.Compare(a.last) <= 0
}

func (a *assigner) take(p *gatewayPlan, addr netip.Addr) bool {
	if _, ok := a.taken[addr]; ok {
		return false
	}
	a.taken[addr] = nameOf(p.object)
	p.addresses = append(p.addresses, addr)
	return true
}

// keep gives a Gateway the address it had: the one given last, or, after a restart, the one its status names.
func (a *assigner) keep(p *gatewayPlan) {
	candidates := []netip.Addr{a.Given[nameOf(p.object)]}
	for _, s := range p.object.Status.Addresses {
		addr, _ := netip.ParseAddr(s.Value)
		candidates = append(candidates, addr)
	}
	for _, addr := range candidates {
		if addr.IsValid() && a.usable(addr) && a.take(p, addr) {
			a.given[nameOf(p.object)] = addr
			return
		}
	}
}

// choose gives a Gateway the first address that is free.
func (a *assigner) choose(p *gatewayPlan) {
	for addr := a.first; addr.Compare(a.last) <= 0; addr = addr.Next() {
		if a.take(p, addr) {
			a.given[nameOf(p.object)] = addr
			return
		}
	}
	p.unusable = verdict{
		string(gatewayv1.GatewayReasonAddressNotAssigned),
		fmt.Sprintf("All addresses from %s to %s are taken: delete a Gateway that is not needed.", a.first, a.last),
	}
}
