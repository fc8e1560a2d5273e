// Package alone runs the gateway by itself on any Kubernetes cluster: `escale gateway`. It is the same data plane and
// the same statuses as in the platform, without the rest of it.
//
// Invariants:
//   - Every process serves requests, whether it writes statuses or not: losing the lease, or the API server, costs no
//     request.
//   - A process is ready once it has read all routes, and no longer once it was told to stop. It then answers for a
//     while, so that whoever sends it requests can notice.
//   - It asks for no right it does not use; the manifest it prints has them all.
//
// It does not install the Gateway API's definitions, and does not scale workloads.
package alone
