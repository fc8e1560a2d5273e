// Package process is a container runtime without containers' usual baggage: it runs programs of this machine as pods.
// It implements the Go interfaces of the Container Runtime Interface (CRI), so that a kubelet in the same process uses
// it without a socket in between.
//
// # What a pod is
//
// A sandbox is a set of network, IPC and UTS namespaces held by file descriptors of the node process, and an address.
// There is no pause process. The pod's side of a veth pair has the address; packets are routed, not switched: the host
// has a route to the address over the other side, the pod a default route to the node's address. Whoever starts the
// runtime must have given the machine, on any interface, the node's address and Config.Host, and switched on
// forwarding. Port mappings are ignored: pods have addresses.
//
// A container is one process tree in its own mount and PID namespaces. Its root holds the machine's programs and
// libraries read-only (/usr, /etc, /opt and their kin), the image's files read-only at /app, and its own /tmp, /var,
// /run, /dev, /proc and /sys; nothing of /root, /home or /var of the machine is visible. See package shim for how it
// is built. An image whose only top-level entry is the folder "app" shows that folder at /app, any other image its
// root, so both ways of building an image for this runtime work. Where a mount point inside a read-only folder does
// not exist, an overlay supplies it.
//
// # Invariants
//
// Containers die with the node process, however it ends (PR_SET_PDEATHSIG); all state is in memory. Nothing polls: an
// idle node costs nothing. A program that cannot be started is an error of StartContainer that says why.
//
// # What it does not do
//
// The machine's /etc is visible as it is: a container that runs as root can read what root can read there. Programs are
// isolated from each other as far as namespaces, capabilities, no_new_privs and cgroups go. Seccomp,
// AppArmor and SELinux profiles are accepted and not applied; user names, user namespaces of pods (hostUsers: false),
// shared PID namespaces and image volumes are refused. CAP_MKNOD is never given to an unprivileged container, because
// there is no device filter. Mounts are private whatever propagation was asked. The size of what a container writes to
// /tmp and /var is not limited. Where cgroups cannot be written, limits are not enforced and figures come from /proc.
package process
