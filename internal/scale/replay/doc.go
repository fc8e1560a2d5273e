// Package replay runs recorded signals through the decision of today, under virtual time: what would have been, with the
// present settings and with others.
//
// It reads recordings of signals (internal/signal) and tables that people write by hand, in CSV or as a line of JSON for
// each second. It runs internal/scale/decision, the same code as in production.
//
// # The model
//
//   - The demand of each second is what was recorded: requests in flight, requests per second, cores used, or work that
//     waits. It does not react to the pods of the replay. Where the recorded pods were too few, what was in flight or
//     waiting then had piled up, so that a replay with more pods shows more demand than there would have been.
//   - A pod is ready a fixed time after it was asked for, the start delay, and gone at once when it is no longer.
//   - A ready pod serves its capacity and no more; the demand above that of all ready pods is unserved. What is unserved
//     is counted and not carried over to the next second.
//   - Use of CPU and memory is divided evenly among the pods, which reserve what the recorded ones reserved.
//   - Between two facts everything stays as it was, but no longer than a minute: what was not recorded is not counted.
//   - No caller fails and every source can be read.
//
// # What it counts
//
//	demand, unserved  the integral over time, in units of the metric times seconds
//	pods              pod-seconds that were asked for, ready or not
//	needed            pod-seconds that the demand needed: each second as many pods as it takes, at least 0
//	waste             1 - needed served by what was asked for: (pods - needed) / pods
//
// Memory is bounded by the number of workloads and settings, not by the length of a recording.
package replay
