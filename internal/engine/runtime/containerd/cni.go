package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine"
)

// CNIDir is where containerd looks for network configurations.
const CNIDir = "/etc/cni/net.d"

// cniFile is the name of the configuration this package writes, and the only one it removes.
const cniFile = "10-escale.conflist"

// CNI is the network of containerd's pods.
type CNI struct {
	// Dir is the folder containerd reads configurations from, usually CNIDir. Empty: nothing is written.
	Dir string
	// State is the folder where address leases are kept; all nodes of a platform must name the same.
	State string
	// Network is the platform's address plan.
	Network engine.Network
}

type cniList struct {
	Version string      `json:"cniVersion"`
	Name    string      `json:"name"`
	Plugins []cniPlugin `json:"plugins"`
}

type cniPlugin struct {
	Type   string   `json:"type"`
	IPMasq bool     `json:"ipMasq"`
	IPAM   cniIPAM  `json:"ipam"`
	DNS    struct{} `json:"dns"`
}

type cniIPAM struct {
	Type    string       `json:"type"`
	DataDir string       `json:"dataDir"`
	Ranges  [][]cniRange `json:"ranges"`
	Routes  []cniRoute   `json:"routes"`
}

type cniRange struct {
	Subnet netip.Prefix `json:"subnet"`
}

type cniRoute struct {
	Destination string `json:"dst"`
}

// CNIConfig is the configuration list for pods of network: a routed veth per pod, addresses from
// engine.Network.Containerd with their leases below state, a default route, no masquerading. The format is that of the
// CNI specification 1.0.0.
func CNIConfig(network engine.Network, state string) ([]byte, error) {
	list := cniList{Version: "1.0.0", Name: "escale", Plugins: []cniPlugin{{
		Type: "ptp",
		IPAM: cniIPAM{
			Type:    "host-local",
			DataDir: state,
			Ranges:  [][]cniRange{{{Subnet: network.Containerd()}}},
			Routes:  []cniRoute{{Destination: "0.0.0.0/0"}},
		},
	}}}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the CNI configuration: %w", err)
	}
	return append(b, '\n'), nil
}

// Install writes the configuration unless another one is there, and tells whether the file changed. Several nodes may
// do so at once.
func (c CNI) Install() (bool, error) {
	if c.Dir == "" {
		return false, nil
	}
	foreign, err := otherCNI(c.Dir)
	if err != nil || foreign {
		return false, err
	}
	want, err := CNIConfig(c.Network, c.State)
	if err != nil {
		return false, err
	}
	path := filepath.Join(c.Dir, cniFile)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(want) {
		return false, nil
	}
	if err := writeFile(path, want); err != nil {
		return false, fmt.Errorf("writing the CNI configuration: %w", err)
	}
	return true, nil
}

// RemoveCNI removes the configuration that Install wrote to dir, if it did.
func RemoveCNI(dir string) error {
	err := os.Remove(filepath.Join(dir, cniFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the CNI configuration: %w", err)
	}
	return nil
}

// otherCNI tells whether dir holds a configuration by someone else; containerd uses the files with these endings.
func otherCNI(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("looking for CNI configurations: %w", err)
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			if e.Name() != cniFile {
				return true, nil
			}
		}
	}
	return false, nil
}

// writeFile replaces path at once, so that containerd never reads half of it.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".escale-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// provide installs the configuration and, if it was missing, gives containerd the moment it needs to read it.
func (c CNI) provide(ctx context.Context, runtime internalapi.RuntimeService) error {
	changed, err := c.Install()
	if err != nil || !changed {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := runtime.Status(ctx, false)
		if err == nil && networkReady(status.GetStatus()) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for containerd to read %q: %w", filepath.Join(c.Dir, cniFile), ctx.Err())
		}
	}
}

func networkReady(status *runtimeapi.RuntimeStatus) bool {
	for _, c := range status.GetConditions() {
		if c.GetType() == runtimeapi.NetworkReady {
			return c.GetStatus()
		}
	}
	return false
}
