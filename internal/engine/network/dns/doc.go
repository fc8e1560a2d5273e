// Package dns is the name service of pods: CoreDNS as a library, twice.
//
//	pod -> node's cache (address of the node) -> cluster's resolver (address of the platform) -> the machine's resolvers
//
// The cluster's resolver knows Services from watching the API server, answers names of the zone cluster.local from
// memory and asks the resolvers of the machine for all others. Each node process has a cache in front of it.
//
// Invariants: a Service is found within a second of its creation, even by who asked for it before, because nothing keeps
// "no such name" for longer on the way. A name with one or two dots that names a Service, such as "api.shop", is found
// without search domains; see names.go. An answer about the outside that has expired is still given, for an hour, while
// the outside does not answer. The machine's resolvers are read again when their file changes.
//
// It does not answer for pods by their address (pod records), and forwards nothing from a node to the outside directly.
//
// CoreDNS and its configuration loader, caddy, keep state per process: Run functions of one process start one after the
// other, and nothing else in the process may use them. Their messages go to the standard logger of package log.
package dns
