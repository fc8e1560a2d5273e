package release

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// place is a spot in the file. A place that is not there has the line of the nearest one around it.
type place struct {
	node   *yamlv3.Node
	key    *yamlv3.Node // the name of the field, where the place is one
	offset int          // lines of the file before the document
}

func (p place) line() int {
	n := cmp.Or(p.key, p.node)
	return p.offset + max(n.Line, 1)
}

// content is what is there, past the document and references.
func (p place) content() place {
	for range 16 {
		switch {
		case p.node.Kind == yamlv3.DocumentNode && len(p.node.Content) > 0:
			p.node = p.node.Content[0]
		case p.node.Kind == yamlv3.AliasNode && p.node.Alias != nil:
			p.node = p.node.Alias
		default:
			return p
		}
	}
	return p
}

func (p place) field(name string) place {
	in := p.content()
	if in.node.Kind != yamlv3.MappingNode {
		return p
	}
	for i := 0; i+1 < len(in.node.Content); i += 2 {
		if k := in.node.Content[i]; k.Value == name {
			return place{node: in.node.Content[i+1], key: k, offset: p.offset}
		}
	}
	return p
}

func (p place) index(i int) place {
	in := p.content()
	if in.node.Kind != yamlv3.SequenceNode || i < 0 || i >= len(in.node.Content) {
		return p
	}
	return place{node: in.node.Content[i], offset: p.offset}
}

// path follows a path as the API server writes it: "spec.env[1].name".
func (p place) path(path string) place {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if i, err := strconv.Atoi(part); err == nil {
			p = p.index(i)
		} else {
			p = p.field(part)
		}
	}
	return p
}

// checker reports what is wrong with one App.
type checker struct {
	*parser
	app string // `App "web"`
}

// check checks names and types of fields first and, if those are right, values: a value of the wrong type would be
// reported by both, and worse by the second.
func (c checker) check(schema *appSchema, at place, obj map[string]any) {
	before := len(c.errs)
	top := *schema.fields
	top.Properties = maps.Clone(top.Properties)
	top.Properties["metadata"] = metadataFields()
	c.walk(at, "", &top, obj)
	if len(c.errs) > before {
		return
	}
	for _, err := range schema.check(obj) {
		c.value(at, err)
	}
}

// metadataFields are the fields of every object's metadata, which a definition leaves out.
func metadataFields() structural.Structural {
	s := structural.Structural{Generic: structural.Generic{Type: "object"}, Properties: map[string]structural.Structural{}}
	text := structural.Structural{Generic: structural.Generic{Type: "string"}}
	texts := structural.Structural{
		Generic:              structural.Generic{Type: "object"},
		AdditionalProperties: &structural.StructuralOrBool{Structural: &text},
	}
	for f := range reflect.TypeFor[metav1.ObjectMeta]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch f.Type {
		case reflect.TypeFor[string]():
			s.Properties[name] = text
		case reflect.TypeFor[map[string]string]():
			s.Properties[name] = texts
		default:
			s.Properties[name] = structural.Structural{Extensions: structural.Extensions{XPreserveUnknownFields: true}}
		}
	}
	return s
}

// walk reports fields that the schema does not have, and values of another type than it wants.
func (c checker) walk(at place, path string, s *structural.Structural, value any) {
	if s.XPreserveUnknownFields {
		return
	}
	if !hasType(value, s) {
		c.fail(at.line(), "%s: want %s, got %s%s", c.where(path), typeName(s.Type), describe(value), hint(at, s, value))
		return
	}
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c.child(at, path, s, name, v[name])
		}
	case []any:
		for i, item := range v {
			c.walk(at.index(i), fmt.Sprintf("%s[%d]", path, i), s.Items, item)
		}
	}
}

func (c checker) child(at place, path string, s *structural.Structural, name string, value any) {
	at = at.field(name)
	sub := strings.TrimPrefix(path+"."+name, ".")
	if prop, ok := s.Properties[name]; ok {
		c.walk(at, sub, &prop, value)
		return
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		c.walk(at, sub, s.AdditionalProperties.Structural, value)
		return
	}
	known := slices.Sorted(maps.Keys(s.Properties))
	c.fail(at.line(), "unknown field %q in %s: %s", name, c.where(path), suggestion(name, known))
}

func (c checker) where(path string) string { return strings.TrimSpace(c.app + " " + path) }

// value reports a value that the API server would refuse, in its words.
func (c checker) value(at place, err *field.Error) {
	path := strings.TrimPrefix(err.Field, "<nil>")
	detail := strings.TrimPrefix(err.Detail, path+" in body ")
	switch err.Type {
	case field.ErrorTypeRequired:
		detail = "this field is missing"
	case field.ErrorTypeNotSupported, field.ErrorTypeDuplicate:
		detail = strings.TrimPrefix(err.ErrorBody(), "Unsupported value: ")
	case field.ErrorTypeInvalid:
		detail = quote(err.BadValue) + detail
	}
	c.fail(at.path(path).line(), "%s: %s", c.where(path), detail)
}

// quote is a single value in front of what is wrong with it.
func quote(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v) + ": "
	case bool, int64, float64:
		return fmt.Sprint(v, ": ")
	}
	return ""
}

func hasType(value any, s *structural.Structural) bool {
	switch value.(type) {
	case map[string]any:
		return s.Type == "object"
	case []any:
		return s.Type == "array"
	case string:
		return s.Type == "string"
	case bool:
		return s.Type == "boolean"
	case int64:
		return s.Type == "integer" || s.Type == "number"
	case float64:
		return s.Type == "number"
	}
	return false
}

func typeName(t string) string {
	switch t {
	case "object":
		return "fields"
	case "array":
		return "a list"
	case "integer":
		return "a whole number"
	case "boolean":
		return "true or false"
	case "string":
		return "text"
	}
	return t
}

func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		return "fields"
	case []any:
		return "a list"
	case string:
		return "the text " + strconv.Quote(v)
	}
	return fmt.Sprint(value)
}

// hint shows how to write what was probably meant.
func hint(at place, s *structural.Structural, value any) string {
	switch value.(type) {
	case bool, int64, float64:
		if s.Type == "string" {
			return fmt.Sprintf(": write %q", at.content().node.Value)
		}
	case string:
		if s.Type == "array" {
			return ": write [" + at.content().node.Value + "]"
		}
	}
	return ""
}

// suggestion names the known field that was probably meant, or all of them.
func suggestion(name string, known []string) string {
	best, distance := "", 1+max(1, len(name)/3)
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return "known are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return max(len(a), len(b))
	}
	var d [65][65]int
	for i := range len(a) + 1 {
		d[i][0] = i
	}
	for j := range len(b) + 1 {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
