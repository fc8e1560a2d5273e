package metricsapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// openAPI describes both APIs, as OpenAPI version 2.
//
//go:embed openapi.json
var openAPI []byte

// describe serves the description, without which the aggregator would ask, and write an error, again and again.
func describe(mux *http.ServeMux) error {
	whole := &spec.Swagger{}
	if err := json.Unmarshal(openAPI, whole); err != nil {
		return fmt.Errorf("reading the description of the metrics APIs: %w", err)
	}
	handler.NewOpenAPIService(whole).RegisterOpenAPIVersionedService("/openapi/v2", mux)
	byVersion := handler3.NewOpenAPIService()
	for _, g := range groups {
		byVersion.UpdateGroupVersion("apis/"+g.name+"/"+version, openapiconv.ConvertV2ToV3(partOf(whole, g.name)))
	}
	if err := byVersion.RegisterOpenAPIV3VersionedService("/openapi/v3", prefixes{mux}); err != nil {
		return fmt.Errorf("serving the description of the metrics APIs: %w", err)
	}
	return nil
}

// partOf is the description of one group: its paths and its kinds.
func partOf(whole *spec.Swagger, group string) *spec.Swagger {
	part := *whole
	part.Paths = &spec.Paths{Paths: map[string]spec.PathItem{}}
	for path, item := range whole.Paths.Paths {
		if strings.HasPrefix(path, "/apis/"+group+"/") {
			part.Paths.Paths[path] = item
		}
	}
	kinds := ".apis." + strings.ReplaceAll(strings.TrimSuffix(group, ".k8s.io"), ".", "_") + "."
	part.Definitions = spec.Definitions{}
	for name, schema := range whole.Definitions {
		if strings.Contains(name, kinds) {
			part.Definitions[name] = schema
		}
	}
	return &part
}

// prefixes is a mux in the form that the OpenAPI handlers take.
type prefixes struct{ *http.ServeMux }

// HandlePrefix serves all paths that begin so.
func (p prefixes) HandlePrefix(path string, h http.Handler) { p.Handle(path, h) }
