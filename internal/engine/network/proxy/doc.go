// Package proxy serves the addresses of Services: it runs upstream's kube-proxy in nftables mode as a library, once for
// all nodes, because all nodes of a platform share one network.
//
// What follows from that one network:
//
//   - Every endpoint on any node is local to the proxy. A pod that reaches itself through its own Service gets an answer,
//     which upstream arranges for local endpoints only.
//   - internalTrafficPolicy and externalTrafficPolicy "Local" select all endpoints, since all are on this machine.
//   - trafficDistribution and topology hints have no effect: traffic is spread over all zones. The zones of one machine
//     are as near as each other.
//   - NodePorts answer on the addresses of the platform and its nodes, not on 127.0.0.1, which nftables mode does not
//     serve, nor on the machine's other addresses. Health check ports of LoadBalancer Services answer on the platform's.
//
// Traffic to a Service keeps the address of the pod it comes from. A change is in the kernel as soon as it is seen, at
// most one synchronisation per minimum interval, and written once more when changes have settled, in case the first time
// failed. Otherwise nothing runs but a check each half minute, which repairs the rules if someone flushed them.
//
// It serves IPv4 only. Headless Services and those of another proxy (label service.kubernetes.io/service-proxy-name) are
// left alone, as upstream does.
package proxy
