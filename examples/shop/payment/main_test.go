package main

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := func() request {
		return request{Key: "k", Name: "Ada", Harbour: "Old Harbour", Items: map[string]int64{"kettle": 1}}
	}
	for name, c := range map[string]struct {
		change func(*request)
		card   string
		want   string // part of what the customer reads
	}{
		"a good payment":  {func(*request) {}, "4242424242424242", ""},
		"no key":          {func(r *request) { r.Key = "" }, "4242424242424242", "needs a key"},
		"nothing to buy":  {func(r *request) { r.Items = nil }, "4242424242424242", "1 to 50 items"},
		"a blank name":    {func(r *request) { r.Name = " " }, "4242424242424242", "a name"},
		"a long harbour":  {func(r *request) { r.Harbour = strings.Repeat("x", 101) }, "4242424242424242", "up to 100"},
		"a swapped digit": {func(*request) {}, "4242424242422442", "a digit may be wrong"},
		"letters":         {func(*request) {}, "4242x24242424242", "a digit may be wrong"},
		"no card":         {func(*request) {}, "", "a digit may be wrong"},
		"none of a thing": {func(r *request) { r.Items["kettle"] = 0 }, "4242424242424242", "1 to 99"},
		"too many":        {func(r *request) { r.Items["kettle"] = 100 }, "4242424242424242", "1 to 99"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			c.change(&r)
			if got := r.check(c.card); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("check: %q, want %q", got, c.want)
			}
		})
	}
}

// The check digit finds every single wrong digit: that is what it is for.
func FuzzLuhn(f *testing.F) {
	f.Add("4242424242424242", 3)
	f.Add("4000000000000002", 0)
	f.Add("é4242424242424", 1)
	f.Fuzz(func(t *testing.T, card string, at int) {
		if !luhn(card) {
			return
		}
		b := []byte(card)
		i := (at%len(b) + len(b)) % len(b)
		b[i] = '0' + (b[i]-'0'+1)%10
		if luhn(string(b)) {
			t.Errorf("%q and %q both pass", card, b)
		}
	})
}
