// Package metricsapi serves metrics.k8s.io/v1beta1 (what nodes and pods use, for kubectl top and for autoscalers) and
// external.metrics.k8s.io/v1beta1 (values by name and labels) behind the API server's aggregator, on data about a second
// old.
//
// The API server passes requests on as its front proxy: the server here takes connections only from who has the front
// proxy's certificate, believes the user it names, and asks the API server with a SubjectAccessReview whether that user
// may, for every path.
//
// It serves get and list as JSON, and its description as OpenAPI 2 and 3; no watch, no Table. metrics.k8s.io takes label selectors and
// the field metadata.name. Timestamps and windows are those of the samples.
package metricsapi
