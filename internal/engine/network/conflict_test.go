package network

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConflict(t *testing.T) {
	all := func(s string) []claim { return []claim{{netip.MustParsePrefix(s), "eth7"}} }
	for name, c := range map[string]struct {
		claims []claim
		// want is part of the error; empty: none.
		want string
	}{
		"nothing in use":                {nil, ""},
		"a network beside ours":         {all("10.44.0.0/16"), ""},
		"an address among the pods":     {all("10.42.7.7/32"), `10.42.7.7/32 of interface "eth7"`},
		"an address among the Services": {all("10.43.200.0/24"), "choose another with --network 10.88.0.0/15"},
		"a company network around ours": {all("10.0.0.0/8"), "choose another with --network 172.24.0.0/15"},
		"everything private is in use":  {append(append(all("10.0.0.0/8"), all("172.16.0.0/12")...), all("198.18.0.0/15")...), "choose another with --network"},
	} {
		t.Run(name, func(t *testing.T) {
			err := conflict(testPlan(), c.claims)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
