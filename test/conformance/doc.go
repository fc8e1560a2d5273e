// Package conformance runs the Gateway API's own conformance suite against the gateway, on a platform of its own.
//
// `make conformance` runs it; it needs root and takes some minutes. The test process and the platform share a network
// namespace made for them, so that the addresses of Gateways can be reached and nothing of the machine is in the way.
// The suite's manifests are used as they are but for the image of its backends: that program is built from the suite's
// module, pushed to the platform's registry and run by the process runtime.
//
// It fails when a test fails that the gateway claims to pass: every Core test of the profiles below, and every Extended
// test of a feature in the GatewayClass's status.
package conformance
