// Package words writes values of package scale as people say them.
package words

import (
	"fmt"
	"strings"
	"time"
)

// Span is a length of time in words: "15 min", "1 h 30 min", "90 ms". Parts of a second are left out above one second.
func Span(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	var parts []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / u.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
		}
		d %= u.size
	}
	return strings.Join(parts, " ")
}
