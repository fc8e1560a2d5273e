package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/google/go-cmp/cmp"
)

// TestReference compares docs/cli.md with what the whole program says of its commands.
func TestReference(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program, which -short leaves out")
	}
	binary, err := enginetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(binary, "reference").Output()
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join("..", "..", "docs", "cli.md")
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/cli.md differs from the commands (`make generate` writes it):\n%s", diff)
	}
}
