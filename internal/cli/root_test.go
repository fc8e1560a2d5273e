package cli

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
)

func TestNearest(t *testing.T) {
	names := []string{"status", "deploy", "delete", "logs", "open"}
	for typed, want := range map[string]string{
		"statsu": "status", "stat": "status", "Status": "status", "depoly": "deploy", "log": "logs", "opne": "open",
		"frobnicate": "", "x": "", "": "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestEveryCommandIsExplained holds for the commands of this package; those of others come with their own.
func TestEveryCommandIsExplained(t *testing.T) {
	var out bytes.Buffer
	p := Program{Version: "1", In: &out, Out: &out, Err: &out}
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Name() == "completion" || c.Name() == "help" || c.Hidden {
			return
		}
		if c.Short == "" || c.Example == "" {
			t.Errorf("`%s` has no summary or no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(p.root(&env{}))
}
