// Package api holds the definitions of the kinds Escale serves: its own, generated from api/v1alpha1, KEDA's, generated
// from api/keda/v1alpha1, and those of the Gateway API, as upstream released them.
package api

import "embed"

// Definitions are the CustomResourceDefinitions, one to a file below "crds".
//
//go:embed crds/*.yaml
var Definitions embed.FS

// AppDefinition is the file in Definitions that defines the kind App.
const AppDefinition = "crds/escale.dev_apps.yaml"
