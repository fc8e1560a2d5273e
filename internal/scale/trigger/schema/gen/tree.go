package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// tree is what KEDA's scalers declare.
type tree struct {
	// structs holds every struct with a tag of KEDA's, by name.
	structs map[string]*ast.StructType
	// makers names the struct that a constructor fills.
	makers map[string]string
	// named holds types declared by another type, such as `type mode string`.
	named map[string]ast.Expr
}

func parseTree(dir string) (*tree, error) {
	t := &tree{structs: map[string]*ast.StructType{}, makers: map[string]string{}, named: map[string]ast.Expr{}}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return fmt.Errorf("parsing %q: %w", path, err)
		}
		t.add(file)
		return nil
	})
	return t, err
}

func (t *tree) add(file *ast.File) {
	scaler := ""
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.GenDecl:
			if found := t.addTypes(d); found != "" {
				scaler = found
			}
		case *ast.FuncDecl:
			if d.Recv == nil && strings.HasPrefix(d.Name.Name, "New") && scaler != "" {
				t.makers[d.Name.Name] = scaler
			}
		}
	}
}

// addTypes notes the types of one declaration and returns the struct in it that holds a scaler's metadata.
func (t *tree) addTypes(d *ast.GenDecl) string {
	scaler := ""
	for _, spec := range d.Specs {
		s, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		structure, ok := s.Type.(*ast.StructType)
		if !ok {
			t.named[s.Name.Name] = s.Type
			continue
		}
		tagged, index := inspect(structure)
		if tagged {
			t.structs[s.Name.Name] = structure
		}
		if tagged && index {
			scaler = s.Name.Name
		}
	}
	return scaler
}

func inspect(structure *ast.StructType) (tagged, index bool) {
	for _, field := range structure.Fields.List {
		for _, name := range field.Names {
			index = index || strings.EqualFold(name.Name, "triggerIndex")
		}
		_, ok := tagOf(field)
		tagged = tagged || ok
	}
	return tagged, index
}

func tagOf(field *ast.Field) (string, bool) {
	if field.Tag == nil {
		return "", false
	}
	raw, err := strconv.Unquote(field.Tag.Value)
	if err != nil {
		return "", false
	}
	return reflect.StructTag(raw).Lookup("keda")
}

// parseMakers reads which constructor builds which type of scaler.
func parseMakers(path string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("parsing %q: %w", path, err)
	}
	makers := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		clause, ok := n.(*ast.CaseClause)
		if !ok || len(clause.List) != 1 || len(clause.Body) != 1 {
			return true
		}
		name, isLiteral := clause.List[0].(*ast.BasicLit)
		returned, isReturn := clause.Body[0].(*ast.ReturnStmt)
		if !isLiteral || !isReturn {
			return true
		}
		if call, ok := returned.Results[0].(*ast.CallExpr); ok {
			if maker, ok := call.Fun.(*ast.SelectorExpr); ok {
				makers[strings.Trim(name.Value, `"`)] = maker.Sel.Name
			}
		}
		return true
	})
	return makers, nil
}

// fields lists what a constructor's struct reads, nested structs in place.
func (t *tree) fields(maker string) ([]schema.Field, error) {
	structure, ok := t.structs[t.makers[maker]]
	if !ok {
		return nil, fmt.Errorf("no struct found for constructor %q", maker)
	}
	return t.walk(structure, false)
}

func (t *tree) walk(structure *ast.StructType, optional bool) ([]schema.Field, error) {
	var fields []schema.Field
	for _, declared := range structure.Fields.List {
		tag, ok := tagOf(declared)
		if !ok {
			continue
		}
		field, err := parseTag(tag)
		if err != nil {
			return nil, err
		}
		if len(field.Names) == 0 {
			nested, err := t.walk(t.structs[typeName(declared.Type)], true)
			if err != nil {
				return nil, err
			}
			fields = append(fields, nested...)
			continue
		}
		field.Optional = field.Optional || optional
		field.Kind = t.kind(declared.Type)
		fields = append(fields, field)
	}
	return fields, nil
}

func typeName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return typeName(e.X)
	}
	return ""
}

// kind names how a value of this Go type is written in metadata.
func (t *tree) kind(expr ast.Expr) schema.Kind {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return t.kind(e.X)
	case *ast.MapType:
		return schema.Map
	case *ast.ArrayType:
		if t.kind(e.Elt) == schema.Int {
			return schema.Ints
		}
		return schema.List
	case *ast.SelectorExpr:
		switch e.Sel.Name {
		case "Duration":
			return schema.Duration
		case "Values":
			return schema.Query
		}
	case *ast.Ident:
		return t.basic(e.Name)
	}
	return schema.Text
}

func (t *tree) basic(name string) schema.Kind {
	switch name {
	case "int", "int64", "int32", "int16", "int8":
		return schema.Int
	case "uint", "uint64", "uint32", "uint16", "uint8":
		return schema.Uint
	case "float64", "float32":
		return schema.Float
	case "bool":
		return schema.Bool
	}
	if expr, ok := t.named[name]; ok {
		return t.kind(expr)
	}
	return schema.Text
}

// parseTag reads a tag such as `name=a;b, order=triggerMetadata;authParams, optional`.
func parseTag(tag string) (schema.Field, error) {
	var field schema.Field
	for part := range strings.SplitSeq(tag, ",") {
		key, value, has := strings.Cut(strings.TrimSpace(part), "=")
		key, value = strings.TrimSpace(key), cutValue(value)
		switch key {
		case "name":
			field.Names = strings.Split(value, ";")
		case "order":
			for source := range strings.SplitSeq(value, ";") {
				field.From += map[string]string{"triggerMetadata": "m", "resolvedEnv": "e", "authParams": "a"}[strings.TrimSpace(source)]
			}
		case "optional":
			field.Optional = !has || value == "true"
		case "default":
			field.Default = value
		case "enum":
			field.Allowed = strings.Split(value, ";")
		case "exclusiveSet":
			field.Exclusive = strings.Split(value, ";")
		case "deprecated":
			field.Removed = orElse(value, "deprecated")
		case "deprecatedAnnounce":
			field.Deprecated = orElse(value, "deprecatedAnnounce")
		case "separator":
			field.Separator = value
		case "range":
			field.Range = orElse(value, "-")
		case "":
		default:
			return field, fmt.Errorf("tag %q has an unknown part %q", tag, key)
		}
	}
	return field, nil
}

// cutValue keeps what KEDA keeps: the text up to a second equals sign.
func cutValue(value string) string {
	value, _, _ = strings.Cut(value, "=")
	return strings.TrimSpace(value)
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
