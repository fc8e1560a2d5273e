package traffic

import (
	"hash/maphash"
	"maps"
	"strings"
)

// nameParts is how many parts a nameMap has. A change copies the parts it touches.
const nameParts = 64

var nameSeed = maphash.MakeSeed()

// nameMap finds values by name. Versions of it share the parts in which they are alike, so that changing one name among
// thousands costs little: see edit. The zero value is empty.
type nameMap[T any] struct {
	parts *[nameParts]map[string]T
	// own are the parts that this version may change, as bits.
	own uint64
	len int
}

func partOf(name string) uint64 { return maphash.String(nameSeed, name) % nameParts }

func (m *nameMap[T]) get(name string) (value T, ok bool) {
	if m.len == 0 {
		return value, false
	}
	value, ok = m.parts[partOf(name)][name]
	return value, ok
}

// edit is a version of its own, for set and remove. The one it is made from must not be changed from then on.
func (m *nameMap[T]) edit() nameMap[T] {
	if m.parts == nil {
		return nameMap[T]{}
	}
	parts := *m.parts
	return nameMap[T]{parts: &parts, len: m.len}
}

// part is one that may be changed.
func (m *nameMap[T]) part(name string) map[string]T {
	if m.parts == nil {
		m.parts = &[nameParts]map[string]T{}
	}
	i := partOf(name)
	if m.own&(1<<i) == 0 {
		m.own |= 1 << i
		if m.parts[i] = maps.Clone(m.parts[i]); m.parts[i] == nil {
			m.parts[i] = map[string]T{}
		}
	}
	return m.parts[i]
}

func (m *nameMap[T]) set(name string, value T) {
	part := m.part(name)
	before := len(part)
	part[name] = value
	m.len += len(part) - before
}

func (m *nameMap[T]) remove(name string) {
	part := m.part(name)
	before := len(part)
	delete(part, name)
	m.len += len(part) - before
}

// hostIndex finds values by host name, the most specific first: an exact name, then wildcards from the longest to the
// shortest, then the value for every name. A version that is read must not be changed: see edit.
type hostIndex[T any] struct {
	exact  nameMap[T]
	suffix nameMap[T] // key ".example.com" for "*.example.com"
	any    *T
}

// candidates yields the values for a name, the most specific first.
func (h *hostIndex[T]) candidates(name string, yield func(T) bool) {
	if v, ok := h.exact.get(name); ok && !yield(v) {
		return
	}
	if h.suffix.len > 0 {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			if v, ok := h.suffix.get(name[i:]); ok && !yield(v) {
				return
			}
		}
	}
	if h.any != nil {
		yield(*h.any)
	}
}

// edit is a version of its own, for set and remove.
func (h *hostIndex[T]) edit() *hostIndex[T] {
	return &hostIndex[T]{exact: h.exact.edit(), suffix: h.suffix.edit(), any: h.any}
}

// names is the map that holds a pattern other than "", and the pattern's key in it.
func (h *hostIndex[T]) names(pattern string) (m *nameMap[T], key string) {
	if strings.HasPrefix(pattern, "*.") {
		return &h.suffix, pattern[1:]
	}
	return &h.exact, pattern
}

// at returns the value stored for a pattern: a name, "*.example.com", or "" for every name.
func (h *hostIndex[T]) at(pattern string) (value T, ok bool) {
	if pattern == "" {
		if h.any == nil {
			return value, false
		}
		return *h.any, true
	}
	m, key := h.names(pattern)
	return m.get(key)
}

func (h *hostIndex[T]) set(pattern string, value T) {
	if pattern == "" {
		h.any = &value
		return
	}
	m, key := h.names(pattern)
	m.set(key, value)
}

func (h *hostIndex[T]) remove(pattern string) {
	if pattern == "" {
		h.any = nil
		return
	}
	m, key := h.names(pattern)
	m.remove(key)
}
