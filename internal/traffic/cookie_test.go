package traffic

import (
	"net/http"
	"slices"
	"testing"
)

func TestThePrivateCookieStaysHere(t *testing.T) {
	for name, c := range map[string]struct{ in, want []string }{
		"alone":             {[]string{"secret=1"}, nil},
		"between others":    {[]string{"a=1; secret=2; b=3"}, []string{"a=1; b=3"}},
		"twice, two lines":  {[]string{"secret=1; a=1", "secret=2"}, []string{"a=1"}},
		"without a space":   {[]string{"a=1;secret=2"}, []string{"a=1"}},
		"odd but not ours":  {[]string{"a; =x; secrets=1"}, []string{"a; =x; secrets=1"}},
		"quoted value kept": {[]string{`a="1"; secret="2"`}, []string{`a="1"`}},
		"none":              {nil, nil},
	} {
		h := http.Header{}
		for _, line := range c.in {
			h.Add("Cookie", line)
		}
		dropCookie(h, "secret")
		if got := h["Cookie"]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q became %q, want %q", name, c.in, got, c.want)
		}
	}
}
