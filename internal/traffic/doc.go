// Package traffic is the gateway: it brings requests from outside to the Services of the cluster, as the Gateway API
// describes. It serves GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute and BackendTLSPolicy
// (gateway.networking.k8s.io/v1) of the controller "escale.dev/gateway", honours ReferenceGrants, and reads Services,
// EndpointSlices, Namespaces, and the Secrets and ConfigMaps that hold certificates.
//
// There are two halves. Compile is a pure function from objects to a Table and the statuses that explain it; what came of
// it takes in changes of routes and Services at the cost of those routes, with the same result. The data plane reads the
// newest Table, and each listener's routes in it, through atomic pointers. Endpoints do not pass through Compile: each backend holds
// its own set, replaced when its EndpointSlices change.
//
// Invariants:
//   - A status says Accepted only after the table that serves it is in place.
//   - What a route asks for and the gateway cannot do is named in the route's status. A rule whose meaning would change
//     is not served: it answers 500, or is dropped when its matches are not understood.
//   - A request is sent a second time only when no backend can have seen the first: the connection was refused and the
//     body not read, or the request has no body and its method may be repeated; or when its rule asks for it.
//   - A request is answered by the listener that its connection's server name chose, or 421: what one listener asks of
//     clients holds for all its requests.
//   - Keys and certificates reach no status, log or error.
//   - A backend sees X-Forwarded-For, -Host and -Proto of this gateway only; what the client sent there is removed.
//   - A backend never sees the portal's cookie, which a browser sends to every port of a host.
//   - Paths with a dot segment, decoded, are refused, so that the path a rule saw is the path a backend sees.
//
// Where there is a Network, each Gateway has addresses of its own, and a socket for each port of its listeners; the
// platform's socket belongs to the default Gateway. Without one, HTTP listeners share the platform's socket and are told
// apart by host name alone, and other protocols are refused.
//
// TCPRoute, UDPRoute, ExternalAuth and session persistence are not served.
package traffic
