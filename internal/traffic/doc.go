// Package traffic is the gateway: it brings requests from outside to the Services of the cluster, as the Gateway API
// describes. It serves GatewayClass, Gateway and HTTPRoute (gateway.networking.k8s.io/v1) of the controller
// "escale.dev/gateway", honours ReferenceGrants, and reads Services, EndpointSlices and Namespaces.
//
// There are two halves. Compile is a pure function from objects to a Table and the statuses that explain it; the data
// plane reads the newest Table through one atomic pointer. Endpoints do not pass through Compile: each backend holds
// its own set, replaced when its EndpointSlices change.
//
// Invariants:
//   - A status says Accepted only after the table that serves it is in place.
//   - What a route asks for and the gateway cannot do is named in the route's status. A rule whose meaning would change
//     is not served: it answers 500, or is dropped when its matches are not understood.
//   - A request is sent a second time only when no backend can have seen the first: the connection was refused and the
//     body not read, or the request has no body and its method may be repeated.
//   - A backend sees X-Forwarded-For, -Host and -Proto of this gateway only; what the client sent there is removed.
//   - A backend never sees the portal's cookie, which a browser sends to every port of a host.
//   - Paths with a dot segment, decoded, are refused, so that the path a rule saw is the path a backend sees.
//
// All HTTP listeners share the socket the platform opened; a listener's port is not opened, and requests find their
// listener by host name alone. TLS, GRPCRoute, mirrors, CORS and regular expressions are not served.
package traffic
