package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/escale-dev/escale/internal/engine"
)

// configFile is the name of a node's configuration in its folder; a folder with one is a node that exists.
const configFile = "config.json"

// zones are given to nodes in turn.
var zones = [...]string{"a", "b", "c"}

// Plan gives names, zones and addresses to count new nodes beside those that exist: the first free places, in order.
// The other fields are left to the caller.
func Plan(network engine.Network, have []engine.NodeConfig, count int) ([]engine.NodeConfig, error) {
	taken := map[string]bool{}
	for _, c := range have {
		taken[c.Name], taken[c.Address] = true, true
	}
	var planned []engine.NodeConfig
	for i := 0; len(planned) < count; i++ {
		address, pods, err := network.Node(i)
		if err != nil {
			return nil, fmt.Errorf("planning %d nodes beside %d: %w", count, len(have), err)
		}
		c := engine.NodeConfig{
			Name:    "node-" + letters(i),
			Zone:    zones[i%len(zones)],
			Address: address.String(),
			PodCIDR: pods.String(),
		}
		if !taken[c.Name] && !taken[c.Address] {
			planned = append(planned, c)
		}
	}
	return planned, nil
}

// letters counts a, b, … z, aa, ab, …
func letters(i int) string {
	s := string(rune('a' + i%26))
	if i < 26 {
		return s
	}
	return letters(i/26-1) + s
}

// Saved is the configuration of every node that exists in dir, in the order of their names.
func Saved(dir engine.Dir) ([]engine.NodeConfig, error) {
	paths, err := filepath.Glob(filepath.Join(dir.Node("*"), configFile))
	if err != nil {
		return nil, fmt.Errorf("looking for nodes in %q: %w", dir, err)
	}
	nodes := make([]engine.NodeConfig, 0, len(paths))
	for _, path := range paths {
		c, err := ReadConfig(path)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// ReadConfig reads the file that `escale node run --config` names.
func ReadConfig(path string) (engine.NodeConfig, error) {
	var c engine.NodeConfig
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("reading the node's configuration: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("reading the node's configuration %q: %w", path, err)
	}
	if c.Name == "" || c.Dir == "" {
		return c, fmt.Errorf("the node's configuration %q has no name or no folder", path)
	}
	return c, nil
}

// writeConfig replaces the node's configuration at once, so that a crash leaves the old one or the new.
func writeConfig(dir string, c engine.NodeConfig) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the configuration of node %q: %w", c.Name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of node %q: %w", c.Name, err)
	}
	path := filepath.Join(dir, configFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of node %q: %w", c.Name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the configuration of node %q: %w", c.Name, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
