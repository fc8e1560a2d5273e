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
	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
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
	var files []string
	for _, group := range []string{"escale.dev", "keda.sh"} {
		found, err := fs.Glob(api.Definitions, "crds/"+group+"_*.yaml")
		if err != nil || len(found) == 0 {
			t.Fatalf("no definitions of %q: %v", group, err)
		}
		files = append(files, found...)
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
func TestDefinitionsHaveTheFieldsOfTheTypes(t *testing.T) {
	for file, types := range map[string]struct{ spec, status reflect.Type }{
		api.AppDefinition:                 {reflect.TypeFor[v1alpha1.AppSpec](), reflect.TypeFor[v1alpha1.AppStatus]()},
		"crds/keda.sh_scaledobjects.yaml": {reflect.TypeFor[kedav1alpha1.ScaledObjectSpec](), reflect.TypeFor[kedav1alpha1.ScaledObjectStatus]()},
		"crds/keda.sh_scaledjobs.yaml":    {reflect.TypeFor[kedav1alpha1.ScaledJobSpec](), reflect.TypeFor[kedav1alpha1.ScaledJobStatus]()},
		"crds/keda.sh_triggerauthentications.yaml": {
			reflect.TypeFor[kedav1alpha1.TriggerAuthenticationSpec](), reflect.TypeFor[kedav1alpha1.TriggerAuthenticationStatus](),
		},
	} {
		schema := definition(t, file).Spec.Versions[0].Schema.OpenAPIV3Schema
		compareFields(t, file+": spec", schema.Properties["spec"], types.spec)
		compareFields(t, file+": status", schema.Properties["status"], types.status)
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
	cmd := exec.Command(gen, "crd:headerFile=", "output:crd:dir="+out, "paths=./v1alpha1/...", "paths=./keda/...")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	made, err := filepath.Glob(filepath.Join(out, "*.yaml"))
	if err != nil || len(made) == 0 {
		t.Fatalf("no definitions made: %v", err)
	}
	for _, file := range made {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := api.Definitions.ReadFile("crds/" + filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is older than the types: run controller-gen", filepath.Base(file))
		}
	}
}
