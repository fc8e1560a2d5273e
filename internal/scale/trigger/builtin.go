package trigger

import (
	"fmt"
	"time"
)

// builtin is one type of trigger with a source of its own.
type builtin struct {
	name string
	// every is how often a source is read that does not push. Servers that compute their answer seldom, or charge for
	// it, are asked less often than each second.
	every time.Duration
	new   func(Config) (Source, error)
}

// builtins lists every type with a source. A type is added here and nowhere else.
var builtins = []builtin{}

func find(name string) (builtin, bool) {
	for _, b := range builtins {
		if b.name == name {
			return b, true
		}
	}
	return builtin{}, false
}

// Types lists the types that are built in.
func Types() []string {
	names := make([]string, len(builtins))
	for i, b := range builtins {
		names[i] = b.name
	}
	return names
}

// Every is how often to read a source of this type that does not push: one second, or longer where the server's own
// numbers are older than that.
func Every(name string) time.Duration {
	if b, ok := find(name); ok {
		return b.every
	}
	return time.Second
}

// New checks a trigger's configuration and makes its source, without connecting. The error says which field is wrong and
// what to write instead; it is ErrNotBuiltIn for a type that KEDA has and Escale has not.
func New(c Config) (Source, error) {
	b, ok := find(c.Type)
	if !ok {
		return nil, fmt.Errorf("trigger type %q is unknown", c.Type)
	}
	source, err := b.new(c)
	if err != nil {
		return nil, fmt.Errorf("trigger %d (%s): %w", c.Index, c.Type, err)
	}
	return source, nil
}
