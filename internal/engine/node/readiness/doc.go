// Package readiness makes a pod ready when its program is, not at the next tick of its probe.
//
// The kubelet asks a startup or readiness probe once per period, a second at the least, so a program that needs 200 ms is
// found ready after one or two seconds. The Watcher asks what the probe asks, in small steps, from the moment the container
// runs, and makes the kubelet's own probe run as soon as the answer is good.
//
// # Invariants
//
// What decides is the kubelet's probe: its answer, thresholds, events and metrics. The Watcher changes only when it is
// asked, and never adds a failure to its count, because it makes a probe run only after the same question was answered
// well. A probe is not asked before its initialDelaySeconds.
//
// The pace is a twentieth of the container's age, 5 ms at the least: a program is found ready at most a twentieth later
// than it was, and is asked some 130 times in its first minute. When the pace reaches the probe's period, which is after
// 20 s with a period of 1 s, the rest is left to the kubelet. A ready pod is not asked: nothing runs at idle.
//
// # What it does not do
//
// Probes that run a command (exec) are left as they are: a command is not free. So are liveness probes, which must not
// come sooner, and readiness probes that want more than one success in a row, which say how long the pod has to prove
// itself.
package readiness
