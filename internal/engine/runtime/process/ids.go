package process

import (
	"fmt"
	"os"
	"strings"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

// idMap holds the user or group ids that exist in this user namespace.
type idMap []idRange

type idRange struct{ first, count int64 }

// readIDMap reads this process's own user ids; group ids are mapped alike wherever a platform maps ids.
func readIDMap() (idMap, error) {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil, fmt.Errorf("reading the user namespace: %w", err)
	}
	return parseIDMap(string(b))
}

// parseIDMap reads the lines "first-inside first-outside count" of user_namespaces(7).
func parseIDMap(s string) (idMap, error) {
	var m idMap
	for line := range strings.Lines(s) {
		var inside, outside, count int64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return nil, fmt.Errorf("user id map %q: %w", line, err)
		}
		m = append(m, idRange{inside, count})
	}
	return m, nil
}

func (m idMap) has(id int) bool {
	for _, r := range m {
		if n := int64(id); n >= r.first && n-r.first < r.count {
			return true
		}
	}
	return false
}

// allows says whether a process can become this user.
func (m idMap) allows(u shim.User) bool {
	for _, g := range u.Groups {
		if !m.has(g) {
			return false
		}
	}
	return m.has(u.UID) && m.has(u.GID)
}

// single says that there is nobody else to become; then not even the groups can be set.
func (m idMap) single() bool {
	return len(m) == 1 && m[0].count == 1
}
