package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/escale-dev/escale/internal/engine"
)

func TestPlan(t *testing.T) {
	network, err := engine.NewNetwork(engine.DefaultNetwork)
	if err != nil {
		t.Fatal(err)
	}
	a := engine.NodeConfig{Name: "node-a", Zone: "a", Address: "10.42.4.1", PodCIDR: "10.42.4.0/22"}
	b := engine.NodeConfig{Name: "node-b", Zone: "b", Address: "10.42.8.1", PodCIDR: "10.42.8.0/22"}
	c := engine.NodeConfig{Name: "node-c", Zone: "c", Address: "10.42.12.1", PodCIDR: "10.42.12.0/22"}
	d := engine.NodeConfig{Name: "node-d", Zone: "a", Address: "10.42.16.1", PodCIDR: "10.42.16.0/22"}
	own := engine.NodeConfig{Name: "mine", Address: "10.42.4.1"}
	cases := []struct {
		name  string
		have  []engine.NodeConfig
		count int
		want  []engine.NodeConfig
	}{
		{name: "the first three are in three zones", count: 3, want: []engine.NodeConfig{a, b, c}},
		{name: "a gap is filled first", have: []engine.NodeConfig{a, c}, count: 2, want: []engine.NodeConfig{b, d}},
		{name: "an address is given once, whatever its node is called", have: []engine.NodeConfig{own}, count: 1, want: []engine.NodeConfig{b}},
		{name: "none asked, none given", have: []engine.NodeConfig{a}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Plan(network, tc.have, tc.count)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("planned (-want +got):\n%s", diff)
			}
		})
	}
	full, err := Plan(network, nil, engine.MaxNodes)
	if err != nil || full[26].Name != "node-aa" {
		t.Errorf("the 27th node is %+v, %v, want node-aa", full[26], err)
	}
	if _, err := Plan(network, full, 1); err == nil {
		t.Error("a full network takes one more node")
	}
}

func TestSaved(t *testing.T) {
	dir := engine.Dir(t.TempDir())
	if got, err := Saved(dir); err != nil || len(got) != 0 {
		t.Fatalf("a new folder has nodes %v, %v", got, err)
	}
	want := []engine.NodeConfig{
		{Name: "node-a", Zone: "a", Dir: dir.Node("node-a"), CPUMillis: 500},
		{Name: "node-b", Zone: "b", Dir: dir.Node("node-b"), Cordoned: true},
	}
	for _, c := range want {
		if err := writeConfig(c.Dir, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir.Node("left-over"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Saved(dir)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	info, err := os.Stat(filepath.Join(dir.Node("node-a"), configFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration has mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON":  "{",
		"no name":   `{"dir": "/x"}`,
		"no folder": `{"name": "node-a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), configFile)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}

func TestNextDelay(t *testing.T) {
	cases := []struct {
		name      string
		last, ran time.Duration
		want      time.Duration
	}{
		{name: "the first pause is short", want: 200 * time.Millisecond},
		{name: "a node that ends again waits twice as long", last: 400 * time.Millisecond, ran: time.Second, want: 800 * time.Millisecond},
		{name: "pauses have a limit", last: 8 * time.Second, want: 10 * time.Second},
		{name: "a node that ran for a minute starts over", last: 10 * time.Second, ran: time.Minute, want: 200 * time.Millisecond},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := nextDelay(tc.last, tc.ran); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
