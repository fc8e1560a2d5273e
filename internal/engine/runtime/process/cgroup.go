package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// maxProcesses keeps one container from using up the machine's process numbers.
	maxProcesses = 8192
)

// controllers are those the runtime uses with cgroups version 1. With version 2 there is one tree for all.
var controllers = []string{"memory", "cpu", "cpuacct", "pids"}

// cgroupTree is the part of the machine's cgroups that belongs to this node.
type cgroupTree struct {
	// folders of the node's own group by controller; with version 2 the only key is "". Empty: no cgroups.
	folders map[string]string
	unified bool
	// controllers are those that can be used.
	controllers []string
}

// openCgroups makes the node's group and empties it of what an earlier process left. A machine that does not allow
// that runs containers without limits, and the log says so.
func openCgroups(parent string, log *slog.Logger) *cgroupTree {
	t := &cgroupTree{folders: map[string]string{}, unified: cgroups.IsCgroup2UnifiedMode()}
	var errs []error
	for name, dir := range findFolders(t.unified, parent) {
		if err := t.adopt(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		t.folders[name] = dir
		t.controllers = append(t.controllers, name)
	}
	if dir, ok := t.folders[""]; ok {
		errs = append(errs, t.adoptUnified(dir))
	}
	if err := errors.Join(errs...); err != nil {
		log.Warn("limits of pods are not enforced: cgroups cannot be written", "error", err)
	}
	return t
}

func findFolders(unified bool, parent string) map[string]string {
	if unified {
		return map[string]string{"": filepath.Join(cgroupRoot, parent)}
	}
	folders := map[string]string{}
	for _, c := range controllers {
		// A controller that is not mounted cannot be used; the others can.
		if mount, err := cgroups.FindCgroupMountpoint("", c); err == nil {
			folders[c] = filepath.Join(mount, parent)
		}
	}
	return folders
}

// adoptUnified finds out which controllers groups below a folder of version 2 get: a machine, or a container around
// this program, may keep some to itself. The others are used.
func (t *cgroupTree) adoptUnified(dir string) error {
	var err error
	if t.controllers, err = delegated(dir); err != nil {
		delete(t.folders, "")
		return err
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(t.controllers, c) {
			err = errors.Join(err, fmt.Errorf("controller %q is not available", c))
		}
	}
	return err
}

func delegated(dir string) ([]string, error) {
	probe := filepath.Join(dir, "probe")
	if err := fs2.CreateCgroupPath(probe, &cgroups.Cgroup{Resources: &cgroups.Resources{}}); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(probe, "cgroup.controllers"))
	return strings.Fields(string(b)), errors.Join(err, os.Remove(probe))
}

// adopt makes a folder and kills what is left in the groups below it.
func (t *cgroupTree) adopt(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeGroup kills the processes in a group and removes it.
func removeGroup(dir string) error {
	killGroup(dir)
	if err := cgroups.RemovePath(dir); err != nil {
		return fmt.Errorf("cgroup %q: %w", dir, err)
	}
	return nil
}

func killGroup(dir string) {
	// A group that cannot be read is gone.
	pids, _ := cgroups.GetAllPids(dir)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// close removes the node's group; the platform's group above it goes with the last node.
func (t *cgroupTree) close() error {
	var errs []error
	for _, dir := range t.folders {
		errs = append(errs, removeGroup(dir))
		_ = os.Remove(filepath.Dir(dir))
	}
	return errors.Join(errs...)
}

// cgroup is one container's group. A nil cgroup enforces and knows nothing.
type cgroup struct {
	manager     cgroups.Manager
	folders     map[string]string
	unified     bool
	controllers []string
}

// create makes a group with the given limits.
func (t *cgroupTree) create(name string, limits *runtimeapi.LinuxContainerResources) (*cgroup, error) {
	if len(t.folders) == 0 {
		return nil, nil
	}
	g := &cgroup{folders: map[string]string{}, unified: t.unified, controllers: t.controllers}
	for c, dir := range t.folders {
		g.folders[c] = filepath.Join(dir, name)
	}
	resources := g.resources(limits)
	if g.has("pids") {
		pids := int64(maxProcesses)
		resources.PidsLimit = &pids
	}
	var err error
	if g.manager, err = newManager(g.folders, resources, t.unified); err != nil {
		return nil, fmt.Errorf("cgroup %q: %w", name, err)
	}
	if err := g.manager.Apply(-1); err != nil {
		return nil, errors.Join(fmt.Errorf("cgroup %q: %w", name, err), g.remove())
	}
	if err := g.manager.Set(resources); err != nil {
		return nil, errors.Join(fmt.Errorf("cgroup %q: %w", name, err), g.remove())
	}
	return g, nil
}

func newManager(folders map[string]string, r *cgroups.Resources, unified bool) (cgroups.Manager, error) {
	config := &cgroups.Cgroup{Resources: r}
	if unified {
		return fs2.NewManager(config, folders[""])
	}
	paths := map[string]string{}
	for c, dir := range folders {
		paths[c] = dir
	}
	return fs.NewManager(config, paths)
}

// resources translates what the kubelet asks for, as far as there are controllers for it.
func (g *cgroup) resources(limits *runtimeapi.LinuxContainerResources) *cgroups.Resources {
	r := &cgroups.Resources{SkipDevices: true}
	if g.has("cpu") {
		r.CpuQuota = limits.GetCpuQuota()
		r.CpuPeriod = uint64(limits.GetCpuPeriod())
		if g.unified {
			r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(uint64(limits.GetCpuShares()))
		} else {
			r.CpuShares = uint64(limits.GetCpuShares())
		}
	}
	if g.has("memory") {
		r.Memory = limits.GetMemoryLimitInBytes()
		if g.swapLimited() {
			r.MemorySwap = r.Memory
		}
	}
	// The kubelet asks for memory.oom.group here.
	if g.unified && g.has("memory") {
		r.Unified = limits.GetUnified()
	}
	return r
}

func (g *cgroup) has(controller string) bool {
	return slices.Contains(g.controllers, controller)
}

// swapLimited says whether the kernel can be told that memory beyond the limit must not go to swap either.
func (g *cgroup) swapLimited() bool {
	if g.unified {
		return true
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(g.folders["memory"]), "memory.memsw.limit_in_bytes"))
	return err == nil
}

// update changes the limits; what is zero stays as it is.
func (g *cgroup) update(limits *runtimeapi.LinuxContainerResources) error {
	if g == nil {
		return nil
	}
	return g.manager.Set(g.resources(limits))
}

// entries are the files through which the shim enters the group. With version 1 a thread can enter alone, for which
// the kernel needs no lock; the others end when the program is executed.
func (g *cgroup) entries() []string {
	if g == nil {
		return nil
	}
	file := "tasks"
	if g.unified {
		file = "cgroup.procs"
	}
	var files []string
	for _, dir := range g.folders {
		files = append(files, filepath.Join(dir, file))
	}
	return files
}

// shown maps names below /sys/fs/cgroup to the folders a container sees there.
func (g *cgroup) shown() map[string]string {
	if g == nil {
		return nil
	}
	return g.folders
}

// killedForMemory says whether the kernel killed a process of the group because memory was short.
func (g *cgroup) killedForMemory() bool {
	if g == nil || !g.has("memory") {
		return false
	}
	n, err := g.manager.OOMKillCount()
	return err == nil && n > 0
}

// kill ends all processes of the group.
func (g *cgroup) kill() {
	if g == nil {
		return
	}
	for _, dir := range g.folders {
		killGroup(dir)
	}
}

func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, dir := range g.folders {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}
