package release_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

func printed(t *testing.T, objects []*unstructured.Unstructured) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, o := range objects {
		y, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return b.Bytes()
}

func TestRender(t *testing.T) {
	files, err := filepath.Glob("testdata/render/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".out.yaml") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := release.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := release.Render(f.Apps[0], release.RenderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".out.yaml", printed(t, objects))
		})
	}
}

func TestClusterObjects(t *testing.T) {
	objects, err := release.ClusterObjects(8080)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/cluster.out.yaml", printed(t, objects))
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (go test -update writes it):\n%s", file, diff)
	}
}

func app(spec v1alpha1.AppSpec) v1alpha1.App {
	a := v1alpha1.App{Spec: spec}
	a.Name, a.Namespace = "web", "shop"
	return a
}

func TestRenderRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		spec v1alpha1.AppSpec
		want string
	}{
		"a source that is not built": {
			v1alpha1.AppSpec{Source: &v1alpha1.Source{Path: "."}},
			"rendering App \"web\": its source is not built: run `escale deploy`, which builds it and names the image",
		},
		"nothing": {v1alpha1.AppSpec{}, `rendering App "web": nothing to run: set image, source or command`},
		"a minute that does not exist": {
			v1alpha1.AppSpec{Image: "i", Schedule: "61 * * * *"},
			`rendering App "web": schedule "61 * * * *": end of range (61) above maximum (59): 61`,
		},
		"memory that is no quantity": {
			v1alpha1.AppSpec{Image: "i", Resources: &v1alpha1.Resources{Memory: "much"}},
			`rendering App "web": resources.memory "much": want a quantity such as "250m" or "256Mi"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := release.Render(app(tt.spec), release.RenderOptions{})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := release.Revision(app(v1alpha1.AppSpec{Source: &v1alpha1.Source{Path: "."}})); !errors.Is(err, release.ErrNotBuilt) {
		t.Errorf("Revision: got %v, want ErrNotBuilt", err)
	}
}

func TestRevisionChangesWithThePodsOnly(t *testing.T) {
	base := v1alpha1.AppSpec{Image: "i", Port: 8080, Storage: []v1alpha1.Storage{{Path: "/a"}, {Path: "/b"}}}
	revision := func(change func(*v1alpha1.AppSpec)) string {
		spec := *base.DeepCopy()
		change(&spec)
		r, err := release.Revision(app(spec))
		if err != nil {
			t.Fatal(err)
		}
		if len(r) != 8 {
			t.Errorf("revision %q: want eight digits", r)
		}
		return r
	}
	first := revision(func(*v1alpha1.AppSpec) {})
	for name, change := range map[string]func(*v1alpha1.AppSpec){
		"replicas":             func(s *v1alpha1.AppSpec) { s.Replicas = ptr.To[int32](9) },
		"route":                func(s *v1alpha1.AppSpec) { s.Route = &v1alpha1.Route{Host: "x.example"} },
		"suspend":              func(s *v1alpha1.AppSpec) { s.Suspend = true },
		"the order of storage": func(s *v1alpha1.AppSpec) { s.Storage[0], s.Storage[1] = s.Storage[1], s.Storage[0] },
	} {
		if got := revision(change); got != first {
			t.Errorf("%s: the revision changed", name)
		}
	}
	for name, change := range map[string]func(*v1alpha1.AppSpec){
		"image": func(s *v1alpha1.AppSpec) { s.Image = "j" },
		"env":   func(s *v1alpha1.AppSpec) { s.Env = []v1alpha1.EnvVar{{Name: "A", Value: "1"}} },
		"port":  func(s *v1alpha1.AppSpec) { s.Port = 8081 },
	} {
		if got := revision(change); got == first {
			t.Errorf("%s: the revision did not change", name)
		}
	}
}
