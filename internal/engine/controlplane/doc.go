// Package controlplane runs a Kubernetes control plane inside the calling process: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, linked as Go modules and otherwise unchanged.
//
// Invariants: what a client was told is stored survives a kill of the process (etcd syncs its log to disk before it
// answers); etcd is reachable through a socket in the data directory only; every key is generated once, mode 0600, and
// never leaves the data directory; the components share the caller's context and install no signal handlers of their
// own.
//
// The components register process-wide metrics and feature gates, so a process can run one control plane in its life.
package controlplane
