// Package network prepares the network of the machine, or of a private network namespace, for the pods of one platform.
//
// A bridge without ports holds the platform's address and one address per node. Pods are routed to it over veths that
// the runtimes make; their names begin with "esc". One table of nftables, "ip escale", keeps the pods to this machine:
//
//   - what a pod sends to the outside is masqueraded;
//   - nothing from another machine reaches a pod, a node, a Service or the platform, forwarding or not;
//   - a Service address that nobody serves is refused at once instead of going to the default gateway.
//
// Where the machine has rules of iptables, such as those of ufw and Docker, rules that let pods pass are put before them.
// Firewalls that speak to nftables directly are left alone.
//
// Invariants: there is one platform per network namespace, held by a lock that the kernel drops with the process.
// Whatever a killed platform left behind is removed by the next Setup, and Close removes everything, including a
// forwarding switch that was off before. What the kernel must remember lives in the kernel, in the table itself, so that
// a reboot clears memory and fact together.
//
// It does not make pods' interfaces (the runtimes do), does not serve Services (package proxy) and knows IPv4 only.
// Packets between pods always pass the machine's IP stack, so the bridge netfilter module makes no difference, and strict
// reverse path filtering holds because the route back to a pod is the interface it sends from.
package network
