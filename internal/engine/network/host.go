package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/escale-dev/escale/internal/engine"
)

// Host is the network of a running platform.
type Host struct {
	plan     engine.Network
	log      *slog.Logger
	firewall *firewall
	lock     net.Listener
}

// Setup makes the platform's network in the network namespace of the calling process. It first removes what an earlier
// platform left there that was killed. It fails with ErrInUse while another platform runs there, and with an error that
// names the way out when addresses overlap or when a program is missing.
func Setup(plan engine.Network, log *slog.Logger) (_ *Host, err error) {
	lock, err := acquire()
	if err != nil {
		return nil, err
	}
	h := &Host{plan: plan, log: log, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if h.firewall, err = newFirewall(); err != nil {
		return nil, err
	}
	if err := h.removeLeftovers(); err != nil {
		return nil, err
	}
	if err := CheckConflict(plan); err != nil {
		return nil, err
	}
	if err := h.create(); err != nil {
		return nil, errors.Join(err, h.remove())
	}
	return h, nil
}

// removeLeftovers undoes what an earlier platform did and could not undo. A proxy's table without ours beside it is that
// of another Kubernetes on this machine, whose Services would fight with ours.
func (h *Host) removeLeftovers() error {
	have, err := h.firewall.installed()
	if err != nil {
		return err
	}
	if !have {
		foreign, err := proxyTable()
		if err != nil {
			return err
		}
		if foreign {
			return fmt.Errorf("the table %q belongs to another Kubernetes on this machine: stop its kube-proxy, or use --private-network", "ip kube-proxy")
		}
	} else {
		h.log.Info("removing what an earlier platform left in the network")
	}
	return h.remove()
}

// create makes everything, in an order in which each step is protected by the ones before.
func (h *Host) create() error {
	if err := h.firewall.install(h.plan); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("starting the loopback interface: %w", err)
	}
	if err := h.firewall.forward(); err != nil {
		return err
	}
	if err := addBridge(h.plan.Bridge()); err != nil {
		return err
	}
	if err := h.AddNode(h.plan.Host()); err != nil {
		return err
	}
	if err := addRoutes(h.plan); err != nil {
		return err
	}
	return passOthers(h.plan, h.log)
}

// AddNode gives the machine a node's address. It is no error if it is there already.
func (h *Host) AddNode(addr netip.Addr) error {
	return changeAddress(h.plan.Bridge(), addr, netlink.AddrReplace)
}

// RemoveNode takes a node's address away. It is no error if it is gone already.
func (h *Host) RemoveNode(addr netip.Addr) error {
	return changeAddress(h.plan.Bridge(), addr, removeAddress)
}

// AddAddress gives the machine an address of the platform's block, such as a Gateway's. It is no error if it is there
// already.
func (h *Host) AddAddress(addr netip.Addr) error {
	return changeAddress(h.plan.Bridge(), addr, netlink.AddrReplace)
}

// RemoveAddress takes an address of the platform's block away. It is no error if it is gone already.
func (h *Host) RemoveAddress(addr netip.Addr) error {
	return changeAddress(h.plan.Bridge(), addr, removeAddress)
}

// Close removes everything that Setup, AddNode and the runtimes made, and the tables of the Service proxy, which must
// have ended.
func (h *Host) Close() error {
	return errors.Join(h.remove(), h.lock.Close())
}

func (h *Host) remove() error {
	return errors.Join(removeLinks(), removeRoutes(), removePasses(), h.firewall.remove())
}
