package api_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/escale-dev/escale/api"
	"github.com/escale-dev/escale/api/v1alpha1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"
)

func definition(t *testing.T, file string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	b, err := api.Definitions.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(b, &crd); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return &crd
}

// The API server refuses a definition whose rules do not compile or may cost too much.
func TestDefinitionsAreAccepted(t *testing.T) {
	files, err := fs.Glob(api.Definitions, "crds/escale.dev_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	for _, file := range files {
		crd := definition(t, file)
		apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		var in apiextensions.CustomResourceDefinition
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &in, nil); err != nil {
			t.Fatal(err)
		}
		in.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
		for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), &in) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The definition and the Go types name the same fields, also where controller-gen is not at hand.
func TestAppDefinitionHasTheFieldsOfTheType(t *testing.T) {
	schema := definition(t, api.AppDefinition).Spec.Versions[0].Schema.OpenAPIV3Schema
	for name, typ := range map[string]reflect.Type{
		"spec":   reflect.TypeFor[v1alpha1.AppSpec](),
		"status": reflect.TypeFor[v1alpha1.AppStatus](),
	} {
		compareFields(t, name, schema.Properties[name], typ)
	}
}

func compareFields(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice {
			schema = *schema.Items.Schema
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || !strings.Contains(typ.PkgPath(), "escale") {
		return
	}
	var want []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		want = append(want, name)
		compareFields(t, path+"."+name, schema.Properties[name], f.Type)
	}
	var got []string
	for name := range schema.Properties {
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s: the definition has %v, the type %v", path, got, want)
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	gen, err := exec.LookPath("controller-gen")
	if err != nil {
		t.Skip("controller-gen is not installed")
	}
	out := t.TempDir()
	cmd := exec.Command(gen, "crd:headerFile=", "output:crd:dir="+out, "paths=./v1alpha1/...")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	want, err := os.ReadFile(filepath.Join(out, filepath.Base(api.AppDefinition)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := api.Definitions.ReadFile(api.AppDefinition)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is older than the types: run controller-gen", api.AppDefinition)
	}
}
