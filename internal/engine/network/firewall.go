package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/escale-dev/escale/internal/engine"
)

const (
	// table holds the platform's rules, in the family ip.
	table = "escale"
	// kubeProxy is the table of the Service proxy, upstream's name.
	kubeProxy = "kube-proxy"
	// forwardingWasOff is an empty chain whose presence says that the machine did not forward packets before.
	forwardingWasOff = "forwarding-was-off"
	// forwarding is the switch that makes the machine route between pods.
	forwarding = "/proc/sys/net/ipv4/ip_forward"
)

// firewall is the platform's table, and the memory of how the machine was before.
type firewall struct {
	nft knftables.Interface
	// all reaches every table.
	all knftables.Interface
	// wasOff says that forwarding has to be switched off at the end.
	wasOff bool
}

func newFirewall() (*firewall, error) {
	if err := findNft(); err != nil {
		return nil, err
	}
	nft, err := knftables.New(knftables.IPv4Family, table)
	if err != nil {
		return nil, fmt.Errorf("using nftables: %w", err)
	}
	all, err := knftables.New("", "")
	if err != nil {
		return nil, fmt.Errorf("using nftables: %w", err)
	}
	return &firewall{nft: nft, all: all}, nil
}

// findNft makes sure that the program nft is found here and by the Service proxy. Debian keeps it where the search path
// of ordinary users does not lead.
func findNft() error {
	if _, err := exec.LookPath("nft"); err == nil {
		return nil
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("extending the search path: %w", err)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return fmt.Errorf("the program %q is missing: install it with `apt-get install nftables`: %w", "nft", err)
	}
	return nil
}

// installed tells whether a platform's table is here, and reads its memory.
func (f *firewall) installed() (bool, error) {
	chains, err := f.nft.List(context.Background(), "chains")
	if knftables.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading table %q: %w", table, err)
	}
	f.wasOff = slices.Contains(chains, forwardingWasOff)
	return len(chains) > 0, nil
}

// proxyTable tells whether a Service proxy's table is here.
func proxyTable() (bool, error) {
	nft, err := knftables.New(knftables.IPv4Family, kubeProxy)
	if err != nil {
		return false, fmt.Errorf("using nftables: %w", err)
	}
	chains, err := nft.List(context.Background(), "chains")
	if knftables.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading table %q: %w", kubeProxy, err)
	}
	return len(chains) > 0, nil
}

// install replaces the table by the rules for plan.
func (f *firewall) install(plan engine.Network) error {
	tx := f.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	if f.wasOff {
		tx.Add(&knftables.Chain{Name: forwardingWasOff})
	}
	for _, c := range chains(plan) {
		tx.Add(&c.Chain)
		for _, r := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.Name, Rule: r})
		}
	}
	if err := f.nft.Run(context.Background(), tx); err != nil {
		return fmt.Errorf("writing table %q: %w", table, err)
	}
	return nil
}

// chain is a chain with its rules.
type chain struct {
	knftables.Chain
	rules []string
}

// chains are the platform's rules; the package comment says what they are for. The filters see packets after the Service
// proxy translated their destination. They come before its own filters, which refuse by ICMP: a program of this machine
// that connects to a Service without endpoints would miss that message, because its socket is still busy sending, and
// try again a second later. A TCP reset is not missed.
func chains(plan engine.Network) []chain {
	ours := fmt.Sprintf("{ %s, %s }", plan.Pods, plan.Services)
	const (
		known   = "ct state established,related accept"
		fromPod = `iifname "esc*" accept`
		// The plugin that connects containerd's pods names its interfaces so.
		fromContainer = `iifname "veth*" accept`
	)
	other := "ip daddr != " + ours + " accept"
	services := "ip daddr " + plan.Services.String()
	reset, unreachable := services+" meta l4proto tcp reject with tcp reset", services+" reject"
	return []chain{
		{base("input", knftables.FilterType, knftables.InputHook, knftables.FilterPriority+"-5"), []string{
			other, `iifname "lo" accept`, fromPod, fromContainer, known, "drop",
		}},
		{base("forward", knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority+"-5"), []string{
			other, known, `iifname != "esc*" iifname != "veth*" drop`, reset, unreachable,
		}},
		{base("output", knftables.FilterType, knftables.OutputHook, knftables.FilterPriority+"-5"), []string{
			reset, unreachable,
		}},
		{base("postrouting", knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority), []string{
			"ip saddr " + plan.Pods.String() + " ip daddr != " + ours + ` oifname != "lo" masquerade`,
		}},
	}
}

func base(name string, kind knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority) knftables.Chain {
	return knftables.Chain{Name: name, Type: &kind, Hook: &hook, Priority: &priority}
}

// forward switches forwarding on, after noting in the table that it was off.
func (f *firewall) forward() error {
	b, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("reading whether the machine forwards packets: %w", err)
	}
	if strings.TrimSpace(string(b)) != "0" {
		return nil
	}
	tx := f.nft.NewTransaction()
	tx.Add(&knftables.Chain{Name: forwardingWasOff})
	if err := f.nft.Run(context.Background(), tx); err != nil {
		return fmt.Errorf("noting that the machine does not forward packets: %w", err)
	}
	f.wasOff = true
	return setForwarding("1")
}

func setForwarding(value string) error {
	if err := os.WriteFile(forwarding, []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting net.ipv4.ip_forward to %s: %w", value, err)
	}
	return nil
}

// remove takes the tables away and switches forwarding off if it was off before. The note goes last.
func (f *firewall) remove() error {
	var errs []error
	if f.wasOff {
		errs = append(errs, setForwarding("0"))
	}
	tx := f.all.NewTransaction()
	for _, t := range []knftables.Table{
		{Family: knftables.IPv4Family, Name: kubeProxy},
		{Family: knftables.IPv6Family, Name: kubeProxy},
		{Family: knftables.IPv4Family, Name: table},
	} {
		// Deleting what is not there is an error, adding what is there is none.
		tx.Add(&t)
		tx.Delete(&t)
	}
	if err := f.all.Run(context.Background(), tx); err != nil {
		errs = append(errs, fmt.Errorf("removing the tables %q and %q: %w", table, kubeProxy, err))
	}
	f.wasOff = f.wasOff && len(errs) > 0
	return errors.Join(errs...)
}
