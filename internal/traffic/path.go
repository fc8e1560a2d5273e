package traffic

import (
	"errors"
	"net/url"
	"strings"
)

// Reasons to refuse a request before any rule is asked.
var (
	errPathForm     = errors.New("the path must start with a slash")
	errDotSegment   = errors.New(`the path has a "." or ".." segment: send it without`)
	errFragment     = errors.New("the target has a fragment")
	errPathEncoding = errors.New("the path is not encoded correctly")
)

// requestPath is the path that rules match: percent-decoded, except that an encoded slash stays "%2F", because it does
// not separate segments. Dot segments are refused: a backend that resolved them would serve another path than the one
// the rules allowed.
func requestPath(u *url.URL) (string, error) {
	if !strings.HasPrefix(u.Path, "/") {
		return "", errPathForm
	}
	if hasDotSegment(u.Path) {
		return "", errDotSegment
	}
	if u.RawPath == "" {
		return u.Path, nil
	}
	return decodePath(u.EscapedPath())
}

func decodePath(escaped string) (string, error) {
	if !strings.Contains(escaped, "%") {
		return escaped, nil
	}
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return "", errPathEncoding
		}
		segments[i] = strings.ReplaceAll(decoded, "/", "%2F")
	}
	return strings.Join(segments, "/"), nil
}

func hasDotSegment(path string) bool {
	if !strings.Contains(path, "/.") {
		return false
	}
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// requestHost is the host name of a Host header in the form that rules are indexed by: lower case, without port and
// without the root's dot.
func requestHost(host string) string {
	name, _ := splitHost(host)
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// splitHost cuts the port off a Host header. The port is empty where there is none.
func splitHost(host string) (name, port string) {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return host[:end+1], strings.TrimPrefix(host[end+1:], ":")
		}
		return host, ""
	}
	name, port, _ = strings.Cut(host, ":")
	return name, port
}

// pathModifier replaces a path. The zero value leaves it as it is.
type pathModifier struct {
	kind  modifierKind
	value string
}

type modifierKind int

const (
	keepPath modifierKind = iota
	replaceFull
	replacePrefix
)

// apply returns the modified path, escaped. The escaped form of the request decides what follows the prefix, so that
// an encoded slash behind it arrives as it was sent.
func (m pathModifier) apply(escaped, prefix string) string {
	switch m.kind {
	case replaceFull:
		return escapePath(m.value)
	case replacePrefix:
		rest := afterSegments(escaped, strings.Count(prefix, "/"))
		return orRoot(escapePath(strings.TrimSuffix(m.value, "/")) + rest)
	}
	return escaped
}

// afterSegments cuts the first n segments, each with the slash before it, off a path.
func afterSegments(path string, n int) string {
	for range n {
		next := strings.IndexByte(path[1:], '/')
		if next < 0 {
			return ""
		}
		path = path[next+1:]
	}
	return path
}

// escapePath escapes what is not escaped yet.
func escapePath(path string) string {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return (&url.URL{Path: path}).EscapedPath()
	}
	return (&url.URL{Path: decoded, RawPath: path}).EscapedPath()
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
