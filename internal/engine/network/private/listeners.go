package private

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
)

// variable names, in the environment of the program inside, the listeners it is handed, in the order of their
// descriptors. It is set, if empty, whenever the program runs inside.
const variable = "ESCALE_PRIVATE_LISTENERS"

// firstDescriptor is the number of the first descriptor after standard input, output and error.
const firstDescriptor = 3

// fileListener is a listener whose socket can be handed to another process.
type fileListener interface {
	net.Listener
	File() (*os.File, error)
}

// descriptors takes the sockets out of listeners and closes those. The names are in the order of the files.
func descriptors(listeners map[string]net.Listener) (files []*os.File, names string, err error) {
	order := slices.Sorted(maps.Keys(listeners))
	for _, name := range order {
		l := listeners[name]
		defer l.Close()
		fl, ok := l.(fileListener)
		if !ok {
			err = errors.Join(err, fmt.Errorf("listener %q: a %T has no socket of its own", name, l))
			continue
		}
		f, ferr := fl.File()
		if ferr != nil {
			err = errors.Join(err, fmt.Errorf("listener %q: %w", name, ferr))
			continue
		}
		files = append(files, f)
	}
	return files, strings.Join(order, ","), err
}

// Inherited returns the listeners that Exec handed to this program, by name, and whether Exec started it at all. The
// first call takes the note out of the environment, so that children of this program do not find it.
var Inherited = sync.OnceValues(func() (map[string]net.Listener, bool) {
	names, inside := os.LookupEnv(variable)
	if !inside {
		return nil, false
	}
	_ = os.Unsetenv(variable) // fails for a malformed name only
	listeners := map[string]net.Listener{}
	for i, name := range split(names) {
		f := os.NewFile(uintptr(firstDescriptor+i), name)
		if l, err := net.FileListener(f); err == nil {
			listeners[name] = l
		}
		f.Close()
	}
	return listeners, true
})

func split(names string) []string {
	if names == "" {
		return nil
	}
	return strings.Split(names, ",")
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
