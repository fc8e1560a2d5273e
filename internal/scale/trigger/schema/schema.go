package schema

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Kind is how a value is written.
type Kind string

// The kinds, by what metadata holds for them.
const (
	Text     Kind = ""
	Int      Kind = "int"      // a whole number
	Uint     Kind = "uint"     // a whole number, not negative
	Float    Kind = "float"    // a number as JSON writes it
	Bool     Kind = "bool"     // true or false, also 1, 0, t and f
	Duration Kind = "duration" // "90s", or a number of milliseconds
	List     Kind = "list"     // "a,b"
	Ints     Kind = "ints"     // "1,2" and, where ranges are allowed, "1-3"
	Map      Kind = "map"      // "a=1,b=2"
	Query    Kind = "query"    // "a=1&b=2"
)

// Field is one parameter of a scaler.
type Field struct {
	// Names are the ways to write it; the first one found is taken.
	Names []string `json:"names"`
	Kind  Kind     `json:"kind,omitempty"`
	// From says where it may be, in the order asked: m metadata, e environment (as nameFromEnv in metadata), a the
	// TriggerAuthentication.
	From     string `json:"from"`
	Optional bool   `json:"optional,omitempty"`
	Default  string `json:"default,omitempty"`
	// Allowed lists the values it, or each of its elements, may have; any if empty.
	Allowed []string `json:"allowed,omitempty"`
	// Exclusive lists values of which a list may have one only.
	Exclusive []string `json:"exclusive,omitempty"`
	// Removed is why it is refused; Deprecated why it should not be used any more.
	Removed    string `json:"removed,omitempty"`
	Deprecated string `json:"deprecated,omitempty"`
	// Separator of elements, a comma if empty; Range between the ends of a range, none if empty.
	Separator string `json:"separator,omitempty"`
	Range     string `json:"range,omitempty"`
}

//go:embed schema.json
var document []byte

// raw holds the undecoded fields of each scaler: most programs use a few of them.
var raw = sync.OnceValue(func() map[string]json.RawMessage {
	var scalers map[string]json.RawMessage
	if err := json.Unmarshal(document, &scalers); err != nil {
		panic(fmt.Sprintf("the embedded scaler schema is damaged: %v", err))
	}
	return scalers
})

// Types lists every type of scaler that KEDA has, in order.
func Types() []string {
	types := make([]string, 0, len(raw()))
	for name := range raw() {
		types = append(types, name)
	}
	slices.Sort(types)
	return types
}

// Fields returns the parameters of a type; false if KEDA has no such type.
func Fields(name string) ([]Field, bool) {
	data, ok := raw()[name]
	if !ok {
		return nil, false
	}
	var fields []Field
	if err := json.Unmarshal(data, &fields); err != nil {
		panic(fmt.Sprintf("the embedded schema of %q is damaged: %v", name, err))
	}
	return fields, true
}
