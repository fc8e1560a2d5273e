// Package node is one node of the cluster and what keeps it running.
//
// A node is a child process of the platform, because the kubelet registers process-wide metrics and so can exist once
// per process, and because a process can be killed, paused or cut off, which is what failure tests need. Run is that
// process: the real kubelet with our container runtime as a Go object, no gRPC between them. Supervisor is the platform's
// side: it starts the processes, restarts those that end, and takes them down with itself.
//
// The router hands each pod to the runtime its RuntimeClass names: "process" runs programs of this machine, everything
// else goes to containerd.
//
// Five things differ from a kubelet on a machine of its own, each for a reason:
//
//   - All nodes share one machine, so a node's allocatable resources are its share, not the machine's.
//   - Secret, ConfigMap, projected and downward API volumes are plain folders below the node's own, which only root can
//     enter, instead of tmpfs mounts. The cluster's store holds the same values on the same disk, so memory would hide
//     nothing; and without mounts nothing can be left behind, and containerd sees them too. An emptyDir with medium
//     Memory is a real tmpfs.
//   - The node runs in a mount namespace of its own, so that its mounts end with it, unless containerd runs when the node
//     starts, because containerd must see subPath and memory volumes.
//   - A container that ends makes the kubelet look at its pod at once instead of within a second, and volumes are waited
//     for in steps of 10 ms instead of 300.
//   - The probes of a starting pod run as soon as they would succeed instead of once per period; see package readiness.
//
// Pods end with their node: the process runtime's because they are its children, containerd's because Run stops them.
// After a kill -9 containerd's pods go on, and the next start adopts them.
package node
