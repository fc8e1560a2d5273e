// Package containerd hands pods with ordinary OCI images to the machine's containerd, through the upstream CRI client.
//
// containerd is one per machine, and every node of the platform uses it. So each node marks the sandboxes and
// containers it creates with its own label and sees no others: a kubelet removes every pod it does not know. The socket
// is looked for whenever a pod needs it, never at the start, so containerd may be installed while the platform runs; the
// connection mends itself when containerd restarts. A node without pods in containerd asks it nothing.
//
// Pods get their addresses from engine.Network.Containerd through a CNI configuration that this package writes where
// the machine has none. Host ports are not served.
//
// The package does not start, configure or stop containerd, and needs no event stream, which containerd 1.6 lacks: the
// kubelet lists pods once a second anyway.
package containerd
