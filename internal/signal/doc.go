// Package signal holds the live facts of the cluster at one-second resolution: per workload the requests in flight,
// their rate, errors and latency, the CPU and memory its pods use, the lag of its queues and how many pods are ready.
// Data planes, nodes and triggers tell it; scaling, the metrics APIs and the portal read it. It is where capabilities
// that need each other's live numbers meet, so that they do not import each other.
//
// A Store is the facts in memory, and package live fills one from a cluster. What a Store knows of a cluster comes
// through two small interfaces, Topology and UsageReader, so that a test or a replay needs no cluster.
//
// Invariants:
//   - Memory is bounded by the number of workloads, never by time or traffic: see BytesPerWorkload.
//   - Every value carries the time it was observed; a reader is never given an old value as a new one.
//   - While nobody reads, nothing is computed, but for one look every IdlePace where a recording is kept.
package signal
