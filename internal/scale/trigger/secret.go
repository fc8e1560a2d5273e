package trigger

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// secrets are texts that no error may hold.
type secrets []string

// shortestSecret keeps words such as "a" from being cut out of every error.
const shortestSecret = 4

// inside finds secrets within a longer value: passwords of URLs and of connection strings.
var inside = regexp.MustCompile(`(?i)(?:://[^/@\s:]*:([^/@\s]+)@)|(?:(?:password|sharedaccesskey|sharedaccesssignature)\s*=\s*('[^']*'|[^;\s&]+))|(?:^[^/@\s:]+:([^/@\s][^@\s]*)@)`)

// secrets lists what must not leave the trigger: everything that came from a TriggerAuthentication or the environment,
// save for words that choose between options, and passwords within any value.
func (c Config) secrets(v schema.Values) secrets {
	var found secrets
	values := make([]string, 0, len(c.Metadata)+len(c.Auth))
	for name, value := range c.Auth {
		values = append(values, value)
		if !v.Choice(name) {
			found = append(found, strings.TrimSpace(value))
		}
	}
	for name, value := range c.Metadata {
		values = append(values, value)
		if strings.HasSuffix(name, "FromEnv") {
			values = append(values, c.Env[value])
			found = append(found, c.Env[value])
		}
	}
	for _, value := range values {
		for _, match := range inside.FindAllStringSubmatch(value, -1) {
			for _, part := range match[1:] {
				part = strings.Trim(part, "'")
				found = append(found, part, unescape(part))
			}
		}
	}
	found = slices.DeleteFunc(found, func(s string) bool { return len(s) < shortestSecret })
	// The longest first, so that no rest of a secret stays when a shorter one is part of it.
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(found)
}

func unescape(s string) string {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return plain
}

// scrub hides the secrets in an error's text; errors.Is still sees the cause.
func (s secrets) scrub(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "***")
		text = strings.ReplaceAll(text, url.QueryEscape(secret), "***")
	}
	if text == err.Error() {
		return err
	}
	return &scrubbed{text: text, cause: err}
}

type scrubbed struct {
	text  string
	cause error
}

func (e *scrubbed) Error() string { return e.text }

// Is lets callers tell a cancelled or refused read from others without showing them the cause's text.
func (e *scrubbed) Is(target error) bool {
	for cause := e.cause; cause != nil; {
		if cause == target {
			return true
		}
		unwrapped, ok := cause.(interface{ Unwrap() error })
		if !ok {
			return false
		}
		cause = unwrapped.Unwrap()
	}
	return false
}
