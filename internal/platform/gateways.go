package platform

import (
	"net/netip"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network"
)

// gatewayNetwork gives Gateways addresses of the platform's block; it implements traffic.Network.
type gatewayNetwork struct {
	*network.Host
	plan engine.Network
}

// Block is where the addresses are taken from.
func (n gatewayNetwork) Block() netip.Prefix { return n.plan.Gateways() }
