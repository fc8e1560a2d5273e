// Package usage reads what pods use of processor and memory. A Source reads counters: Cgroups those of this machine's
// containers, each second and at little cost; Kubelet those that a kubelet reports, through the API server, at a pace
// that does not burden it. Local takes the first where it can and the second elsewhere. A Tracker asks a Source and turns
// counters into rates, for the store of signals and the metrics API.
//
// Memory is the working set as cAdvisor defines it: the memory charged to the cgroup less what the kernel can drop of
// files not used lately (inactive_file).
//
// Invariants:
//   - Every sample has the time it was taken; nothing is extrapolated.
//   - Only containers of pods that exist are read, and what is kept of others goes with them.
//   - Nothing is read unless somebody asks.
package usage
