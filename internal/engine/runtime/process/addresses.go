package process

import (
	"fmt"
	"net/netip"
)

// addresses gives out the addresses of an IPv4 prefix in rotation, so that one just released is the last to come back:
// peers may still hold connections, and caches entries, of the pod that had it.
//
// The first address of the prefix, its last, and the reserved ones are never given out.
type addresses struct {
	prefix netip.Prefix
	next   netip.Addr
	used   map[netip.Addr]bool
}

// newAddresses starts the rotation at the given offset into the prefix, which a node chooses anew at each start: what
// it had given out before may not have vanished yet.
func newAddresses(prefix netip.Prefix, offset uint32, reserved ...netip.Addr) *addresses {
	a := &addresses{prefix: prefix.Masked(), used: map[netip.Addr]bool{}}
	size := uint32(1) << (32 - a.prefix.Bits())
	first := beUint32(a.prefix.Addr())
	a.used[a.prefix.Addr()] = true
	a.used[fromUint32(first+size-1)] = true
	for _, r := range reserved {
		a.used[r] = true
	}
	a.next = fromUint32(first + offset%size)
	return a
}

// take returns a free address.
func (a *addresses) take() (netip.Addr, error) {
	for start := a.next; ; {
		addr := a.next
		a.next = a.after(addr)
		if !a.used[addr] {
			a.used[addr] = true
			return addr, nil
		}
		if a.next == start {
			return netip.Addr{}, fmt.Errorf("all pod addresses of %s are in use", a.prefix)
		}
	}
}

func (a *addresses) after(addr netip.Addr) netip.Addr {
	if n := addr.Next(); a.prefix.Contains(n) {
		return n
	}
	return a.prefix.Addr()
}

// release makes an address free again.
func (a *addresses) release(addr netip.Addr) { delete(a.used, addr) }

func beUint32(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func fromUint32(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
