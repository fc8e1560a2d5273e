package platform

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// machineMemory is the memory of this machine, in bytes.
func machineMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("asking for the machine's memory: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}
