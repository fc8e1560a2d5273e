// Package v1alpha1 holds Escale's own kinds. There is one, App: the short form of an application. It renders to plain
// upstream objects and adds nothing at run time, so leaving it costs one command (`escale render`).
//
// The package imports the standard library and apimachinery only, so that any program can use the types.
//
// +kubebuilder:object:generate=true
// +groupName=escale.dev
package v1alpha1
