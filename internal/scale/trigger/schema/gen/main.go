// Command gen writes schema.json from KEDA's module: the published scaler schema says which parameters each scaler has,
// and the struct tags it was made from add what the publication leaves out, the Go type of each parameter and the order
// in which its sources are asked. It fails when the two disagree.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

const module = "github.com/kedacore/keda/v2@v2.21.0"

func main() {
	log.SetFlags(0)
	if err := run("schema.json"); err != nil {
		log.Fatal(err)
	}
}

func run(target string) error {
	dir, err := download()
	if err != nil {
		return err
	}
	published, err := readPublished(filepath.Join(dir, "schema", "generated", "scalers-schema.json"))
	if err != nil {
		return err
	}
	tree, err := parseTree(filepath.Join(dir, "pkg", "scalers"))
	if err != nil {
		return err
	}
	makers, err := parseMakers(filepath.Join(dir, "pkg", "scaling", "scalers_builder.go"))
	if err != nil {
		return err
	}
	scalers := map[string][]schema.Field{}
	for name, parameters := range published {
		fields, err := tree.fields(makers[name])
		if err != nil {
			return fmt.Errorf("scaler %q: %w", name, err)
		}
		if err := agree(parameters, fields); err != nil {
			return fmt.Errorf("scaler %q: %w", name, err)
		}
		scalers[name] = fields
	}
	return write(target, scalers)
}

// download returns the folder of KEDA's module.
func download() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, err)
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("reading what go mod download says: %w", err)
	}
	return got.Dir, nil
}

// write puts one field on each line, so that a new version of KEDA shows as a readable difference.
func write(target string, scalers map[string][]schema.Field) error {
	var out bytes.Buffer
	names := make([]string, 0, len(scalers))
	for name := range scalers {
		names = append(names, name)
	}
	slices.Sort(names)
	out.WriteString("{\n")
	for i, name := range names {
		fmt.Fprintf(&out, "%q: [\n", name)
		for j, field := range scalers[name] {
			line, err := json.Marshal(field)
			if err != nil {
				return fmt.Errorf("writing field %q: %w", field.Names, err)
			}
			out.Write(line)
			out.WriteString(separator(j, len(scalers[name])))
		}
		out.WriteString("]" + separator(i, len(names)))
	}
	out.WriteString("}\n")
	return os.WriteFile(target, out.Bytes(), 0o644)
}

func separator(i, n int) string {
	if i < n-1 {
		return ",\n"
	}
	return "\n"
}
