package release

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/escale-dev/escale/api/v1alpha1"
	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// FileName is the name of an application file in its folder.
const FileName = "escale.yaml"

// Limits on an application file. They are far above what people write and below what harms the reader.
const (
	maxFileBytes = 4 << 20
	maxDocuments = 1000
)

// File is a parsed application file.
type File struct {
	// Path of the file, or the name given to Parse.
	Path string
	// Apps in the order of the file. They satisfy the schema and the rules of the kind. Status and the fields that a
	// server sets are removed, so that the output of kubectl get can be a file.
	Apps []v1alpha1.App
	// Objects are all others, in the order of the file, as they were written.
	Objects []*unstructured.Unstructured
}

// Dir is the folder that sources are relative to.
func (f File) Dir() string { return filepath.Dir(f.Path) }

// LineError is one mistake in an application file.
type LineError struct {
	File    string
	Line    int // counted from 1
	Message string
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Load reads an application file. A folder stands for the file escale.yaml in it.
func Load(path string) (File, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	f, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("reading application file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return File{}, fmt.Errorf("reading application file: %w", err)
	}
	return Parse(path, b)
}

// Parse reads the content of an application file, YAML or JSON. It reports every mistake it finds, joined, each a
// LineError; name is what the messages call the file.
func Parse(name string, b []byte) (File, error) {
	if len(b) > maxFileBytes {
		return File{}, fmt.Errorf("%s: the file has more than %d MiB", name, maxFileBytes>>20)
	}
	docs := splitDocuments(b)
	if len(docs) > maxDocuments {
		return File{}, fmt.Errorf("%s: the file has more than %d documents", name, maxDocuments)
	}
	p := parser{file: File{Path: name}, lines: map[string]int{}}
	for _, d := range docs {
		p.document(d)
	}
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *LineError) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
		})
		return File{}, joined(p.errs)
	}
	if len(p.file.Apps)+len(p.file.Objects) == 0 {
		return File{}, fmt.Errorf("%s: the file holds no object", name)
	}
	return p.file, nil
}

func joined(errs []*LineError) error {
	all := make([]error, 0, len(errs))
	for _, err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// document is one YAML document; its first line is the line first of the file.
type document struct {
	text  []byte
	first int
}

// splitDocuments cuts at the lines that begin with "---", as kubectl does.
func splitDocuments(b []byte) []document {
	var docs []document
	start, first, line := 0, 1, 0
	for pos := 0; pos < len(b); {
		line++
		end := len(b)
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if rest, ok := bytes.CutPrefix(b[pos:end], []byte("---")); ok && isSeparator(rest) {
			docs = append(docs, document{b[start:pos], first})
			start, first = end, line+1
		}
		pos = end
	}
	return append(docs, document{b[start:], first})
}

func isSeparator(rest []byte) bool {
	rest = bytes.TrimSpace(rest)
	return len(rest) == 0 || rest[0] == '#'
}

type parser struct {
	file  File
	lines map[string]int // where each object was first seen
	errs  []*LineError
}

func (p *parser) fail(line int, format string, args ...any) {
	p.errs = append(p.errs, &LineError{p.file.Path, line, fmt.Sprintf(format, args...)})
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntax reports an error of the YAML library, whose lines count from the document's beginning.
func (p *parser) syntax(d document, err error) {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "yaml: "), "unmarshal errors:\n  ")
	line := d.first
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // digits; one too many for an int counts as 0
		line += max(n-1, 0)
		text = strings.Replace(text, m[0], "", 1)
	}
	p.fail(line, "%s", text)
}

func (p *parser) document(d document) {
	j, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		p.syntax(d, err)
		return
	}
	var value any
	if err := json.Unmarshal(j, &value); err != nil {
		p.fail(d.first, "%v", err)
		return
	}
	if value == nil {
		return // only comments
	}
	// The second reading is for the lines alone; the values are those kubectl would see.
	var root yamlv3.Node
	if err := yamlv3.Unmarshal(d.text, &root); err != nil {
		p.syntax(d, err)
		return
	}
	p.object(place{node: &root, offset: d.first - 1}.content(), value)
}

// object takes one object, or each item of a List.
func (p *parser) object(at place, value any) {
	obj, ok := value.(map[string]any)
	if !ok {
		p.fail(at.line(), "want an object with apiVersion and kind")
		return
	}
	if items, ok := obj["items"].([]any); ok && obj["kind"] == "List" {
		for i, item := range items {
			p.object(at.field("items").index(i), item)
		}
		return
	}
	u := &unstructured.Unstructured{Object: obj}
	if u.GetAPIVersion() == "" || u.GetKind() == "" {
		p.fail(at.line(), "the object has no apiVersion or no kind: an App begins with \"apiVersion: %s\" and \"kind: App\"", v1alpha1.GroupVersion)
		return
	}
	if group, _, _ := strings.Cut(u.GetAPIVersion(), "/"); group == v1alpha1.GroupVersion.Group {
		p.app(at, u)
		return
	}
	if u.GetName() == "" {
		p.fail(at.line(), "%s has no metadata.name", u.GetKind())
		return
	}
	if p.first(at, u) {
		p.file.Objects = append(p.file.Objects, u)
	}
}

// first reports an object that the file has twice.
func (p *parser) first(at place, u *unstructured.Unstructured) bool {
	id := u.GroupVersionKind().GroupKind().String() + "/" + u.GetNamespace() + "/" + u.GetName()
	if line, again := p.lines[id]; again {
		p.fail(at.line(), "%s %q is in the file twice, first in line %d", u.GetKind(), u.GetName(), line)
		return false
	}
	p.lines[id] = at.line()
	return true
}

func (p *parser) app(at place, u *unstructured.Unstructured) {
	if u.GetAPIVersion() != v1alpha1.GroupVersion.String() {
		p.fail(at.field("apiVersion").line(), "apiVersion %q is not known: write %q", u.GetAPIVersion(), v1alpha1.GroupVersion)
		return
	}
	if u.GetKind() != "App" {
		p.fail(at.field("kind").line(), "kind %q is not known in %s: write \"App\"", u.GetKind(), v1alpha1.GroupVersion)
		return
	}
	schema, err := theAppSchema()
	if err != nil {
		p.fail(at.line(), "%v", err)
		return
	}
	if u.GetName() == "" {
		p.fail(at.line(), "App has no metadata.name")
		return
	}
	delete(u.Object, "status")
	before := len(p.errs)
	c := checker{parser: p, app: fmt.Sprintf("App %q", u.GetName())}
	c.check(schema, at, u.Object)
	if len(p.errs) > before || !p.first(at, u) {
		return
	}
	var app v1alpha1.App
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &app); err != nil {
		p.fail(at.line(), "%s: %v", c.app, err)
		return
	}
	p.file.Apps = append(p.file.Apps, withoutServerFields(app))
}

// withoutServerFields is the App as a person would have written it.
func withoutServerFields(app v1alpha1.App) v1alpha1.App {
	app.UID, app.ResourceVersion, app.Generation, app.ManagedFields = "", "", 0, nil
	app.CreationTimestamp.Reset()
	app.DeletionTimestamp, app.OwnerReferences, app.Finalizers = nil, nil, nil
	return app
}
