package release

import (
	"context"
	"fmt"
	"sync"

	"github.com/escale-dev/escale/api"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// appSchema is the definition of the kind App, ready to check objects with. It is the one the API server uses, so that
// a file is refused here for exactly the reasons it would be refused there.
type appSchema struct {
	fields  *structural.Structural
	openapi validation.SchemaValidator
	rules   *cel.Validator
}

// theAppSchema compiles the definition once. The file is part of the program, so an error is a defect.
var theAppSchema = sync.OnceValues(loadAppSchema)

func loadAppSchema() (*appSchema, error) {
	b, err := api.Definitions.ReadFile(api.AppDefinition)
	if err != nil {
		return nil, fmt.Errorf("reading the definition of App: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(b, &crd); err != nil {
		return nil, fmt.Errorf("decoding the definition of App: %w", err)
	}
	var props apiextensions.JSONSchemaProps
	in := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(in, &props, nil); err != nil {
		return nil, fmt.Errorf("converting the definition of App: %w", err)
	}
	fields, err := structural.NewStructural(&props)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of App: %w", err)
	}
	openapi, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of App: %w", err)
	}
	return &appSchema{fields: fields, openapi: openapi, rules: cel.NewValidator(fields, true, celconfig.PerCallLimit)}, nil
}

// check answers what the API server would refuse in an App whose fields and types are known to be right.
func (s *appSchema) check(obj map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, obj, s.openapi)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.fields, obj)...)
	if len(errs) > 0 {
		return errs
	}
	errs, _ = s.rules.Validate(context.Background(), nil, s.fields, obj, nil, celconfig.RuntimeCELCostBudget)
	return errs
}
