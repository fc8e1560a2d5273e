// Package signal holds the live facts of the cluster at one-second resolution: per workload the requests in flight,
// their rate, errors and latency, the CPU and memory its pods use, the lag of its queues and how many pods are ready.
// Data planes, nodes and triggers tell it; scaling, the metrics APIs and the portal read it. It is where capabilities
// that need each other's live numbers meet, so that they do not import each other.
//
// Invariants:
//   - Memory is bounded by the number of workloads, never by time or traffic.
//   - Every value carries the time it was observed; a reader is never given an old value as a new one.
//   - Without readers and without traffic nothing is computed.
package signal
