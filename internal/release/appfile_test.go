package release_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/escale-dev/escale/internal/release"
	"golang.org/x/tools/txtar"
)

// Each file of testdata/file is an archive of "escale.yaml", and "errors" with the expected mistakes or "objects" with
// what was read.
func TestParse(t *testing.T) {
	files, err := filepath.Glob("testdata/file/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, want := ar.Files[0], &ar.Files[1]
			f, err := release.Parse(in.Name, in.Data)
			got := summary(f, err)
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if (err != nil) != (want.Name == "errors") || got != string(want.Data) {
				t.Errorf("got:\n%s\nwant %s:\n%s", got, want.Name, want.Data)
			}
		})
	}
}

func summary(f release.File, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, a := range f.Apps {
		b.WriteString("App " + a.Namespace + "/" + a.Name + "\n")
	}
	for _, o := range f.Objects {
		b.WriteString(o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName() + "\n")
	}
	return b.String()
}

func TestLoadTakesAFolder(t *testing.T) {
	dir := t.TempDir()
	text := "apiVersion: escale.dev/v1alpha1\nkind: App\nmetadata: {name: web}\nspec: {command: [sleep, '9']}\n"
	if err := os.WriteFile(filepath.Join(dir, release.FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := release.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.Dir() != dir || len(f.Apps) != 1 {
		t.Errorf("got %d Apps in %q", len(f.Apps), f.Dir())
	}
	if _, err := release.Load(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestParseLimits(t *testing.T) {
	if _, err := release.Parse("f", make([]byte, 5<<20)); err == nil || !strings.Contains(err.Error(), "more than 4 MiB") {
		t.Errorf("a large file: got %v", err)
	}
	if _, err := release.Parse("f", []byte(strings.Repeat("---\n", 2000))); err == nil || !strings.Contains(err.Error(), "1000 documents") {
		t.Errorf("many documents: got %v", err)
	}
}

// What parses renders, or says why; nothing panics.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/file/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ar.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := release.Parse("escale.yaml", b)
		if err != nil {
			return
		}
		for _, app := range file.Apps {
			objects, err := release.Render(app, release.RenderOptions{})
			if err == nil && len(objects) == 0 {
				t.Errorf("App %q rendered to nothing", app.Name)
			}
		}
	})
}
