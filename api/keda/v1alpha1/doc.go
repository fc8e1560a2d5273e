// Package v1alpha1 holds the kinds of keda.sh/v1alpha1 that Escale serves: ScaledObject, ScaledJob,
// TriggerAuthentication and ClusterTriggerAuthentication. Names, defaults, validation, columns and status follow KEDA
// v2.21, so that its objects and clients work unchanged. The words, and what is done with the objects, are Escale's.
//
// The package imports the standard library, apimachinery and the autoscaling API (for an HPA's behavior) only. The
// template of a ScaledJob stays raw: its schema alone would be 9,000 lines of definition, which the API server keeps in
// memory several times over.
//
// +kubebuilder:object:generate=true
// +groupName=keda.sh
package v1alpha1
