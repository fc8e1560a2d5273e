// Package calls finds out which workloads call which, from the connections that the kernel tracks in the platform's
// network: a pod's connection to another pod, or to a Service, is a call of its workload.
//
// The table of connections is read only when somebody asks, at most once a second and seldomer the larger it is. What
// was seen is remembered for an hour, of at most maxEdges pairs of workloads.
//
// It does not see: connections that ended, and were forgotten by the kernel, between two questions (it forgets a closed
// TCP connection after two minutes); connections between pods of other machines; who is behind a gateway.
package calls

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// pace is how often the table is read at most; effort is how many times longer than reading it the pause is at least.
	pace   = time.Second
	effort = 50
	// remembered is how long a call is told after it was seen.
	remembered = time.Hour
	maxEdges   = 10_000
)

// Topology tells whose an address is.
type Topology interface {
	// ByIP is the workload whose pod has an address.
	ByIP(ip string) (signal.Workload, bool)
	// ByServiceIP lists the workloads that a Service's address leads to.
	ByServiceIP(ip string) []signal.Backend
}

// Connection is one that the kernel tracks: who opened it, to which address, and who answers.
type Connection struct{ From, To, Answers net.IP }

// Finder implements signal.CallReader.
type Finder struct {
	topology Topology
	list     func() ([]Connection, error)

	mu    sync.Mutex
	next  time.Time // when the table may be read again
	edges map[edge]time.Time
}

type edge struct{ caller, callee signal.Workload }

// New reads the connections of the network namespace of the calling process.
func New(t Topology) *Finder { return &Finder{topology: t, list: tracked, edges: map[edge]time.Time{}} }

// tracked lists the kernel's connections over TCP and UDP.
func tracked() ([]Connection, error) {
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("reading the table of connections: %w", err)
	}
	out := make([]Connection, 0, len(flows))
	for _, f := range flows {
		if f.Forward.Protocol == unix.IPPROTO_TCP || f.Forward.Protocol == unix.IPPROTO_UDP {
			out = append(out, Connection{From: f.Forward.SrcIP, To: f.Forward.DstIP, Answers: f.Reverse.SrcIP})
		}
	}
	return out, nil
}

// Callers implements signal.CallReader. Where the table cannot be read it returns what is remembered, and the reason.
func (f *Finder) Callers(_ context.Context, callee signal.Workload) ([]signal.Call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	err := f.look(now)
	var out []signal.Call
	for e, at := range f.edges {
		if e.callee == callee && now.Sub(at) <= remembered {
			out = append(out, signal.Call{Caller: e.caller, Callee: callee, LastSeen: at})
		}
	}
	return out, err
}

// look reads the table if it is time; the caller holds mu.
func (f *Finder) look(now time.Time) error {
	if now.Before(f.next) {
		return nil
	}
	connections, err := f.list()
	f.next = time.Now().Add(max(pace, effort*time.Since(now)))
	if err != nil {
		return err
	}
	for _, c := range connections {
		f.note(c, now)
	}
	f.forget(now)
	return nil
}

// note remembers a connection between workloads. Its end is the pod that answers, or, where the kernel does not tell
// that, every workload behind the Service it is to.
func (f *Finder) note(c Connection, now time.Time) {
	caller, ok := f.topology.ByIP(c.From.String())
	if !ok {
		return
	}
	if callee, ok := f.topology.ByIP(c.Answers.String()); ok {
		f.edges[edge{caller, callee}] = now
		return
	}
	for _, b := range f.topology.ByServiceIP(c.To.String()) {
		f.edges[edge{caller, b.Workload}] = now
	}
}

// forget drops what is too old, and the oldest of what is too much. A workload's calls of itself are no news.
func (f *Finder) forget(now time.Time) {
	for e, at := range f.edges {
		if now.Sub(at) > remembered || e.caller == e.callee {
			delete(f.edges, e)
		}
	}
	if len(f.edges) <= maxEdges {
		return
	}
	type seen struct {
		edge
		at time.Time
	}
	all := make([]seen, 0, len(f.edges))
	for e, at := range f.edges {
		all = append(all, seen{e, at})
	}
	slices.SortFunc(all, func(a, b seen) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.caller.String(), b.caller.String()))
	})
	for _, s := range all[:len(all)-maxEdges] {
		delete(f.edges, s.edge)
	}
}
