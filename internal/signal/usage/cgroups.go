package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/escale-dev/escale/internal/signal/topology"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// Cgroups reads the cgroups of the containers on this machine. It keeps their files open, since opening them is most of
// the work.
type Cgroups struct {
	// groups says where the group of a container may be, below the mount of a controller.
	groups func(node string, c topology.Container) []string
	layout layout
	open   map[string]*group // by container id
	round  uint64
	out    []Sample
	buffer []byte
}

// layout is where the controllers are mounted and what their files are called.
type layout struct {
	cpu, memory         string
	cpuFile, memoryFile string
	inactive            []byte // of memory.stat
	parseCPU            func([]byte) (time.Duration, bool)
}

// NewCgroups reads the groups at the paths that groups names. A machine without the controllers is an error.
func NewCgroups(groups func(node string, c topology.Container) []string) (*Cgroups, error) {
	l, err := findLayout()
	if err != nil {
		return nil, err
	}
	return newCgroups(groups, l), nil
}

func newCgroups(groups func(node string, c topology.Container) []string, l layout) *Cgroups {
	return &Cgroups{groups: groups, layout: l, open: map[string]*group{}, buffer: make([]byte, 16<<10)}
}

func findLayout() (layout, error) {
	if cgroups.IsCgroup2UnifiedMode() {
		return unifiedLayout("/sys/fs/cgroup"), nil
	}
	cpu, err := cgroups.FindCgroupMountpoint("", "cpuacct")
	if err != nil {
		return layout{}, fmt.Errorf("looking for cgroups: %w", err)
	}
	memory, err := cgroups.FindCgroupMountpoint("", "memory")
	if err != nil {
		return layout{}, fmt.Errorf("looking for cgroups: %w", err)
	}
	return legacyLayout(cpu, memory), nil
}

// unifiedLayout is that of cgroups version 2.
func unifiedLayout(mount string) layout {
	return layout{
		cpu: mount, memory: mount, cpuFile: "cpu.stat", memoryFile: "memory.current",
		inactive: []byte("inactive_file "), parseCPU: parseCPUStat,
	}
}

// legacyLayout is that of version 1.
func legacyLayout(cpu, memory string) layout {
	return layout{
		cpu: cpu, memory: memory, cpuFile: "cpuacct.usage", memoryFile: "memory.usage_in_bytes",
		inactive: []byte("total_inactive_file "), parseCPU: parseNanoseconds,
	}
}

// group is the open files of a container's group.
type group struct {
	cpu, memory, stat int
	round             uint64
}

// Read implements Source.
func (c *Cgroups) Read(_ context.Context, pods []*topology.Pod) Reading {
	c.round++
	c.out = c.out[:0]
	for _, p := range pods {
		for _, container := range p.Containers {
			if s, ok := c.read(p, container); ok {
				c.out = append(c.out, s)
			}
		}
	}
	c.closeOthers()
	return Reading{Containers: c.out}
}

func (c *Cgroups) read(p *topology.Pod, container topology.Container) (Sample, bool) {
	g := c.open[container.ID]
	if g == nil {
		if g = c.find(p.Node, container); g == nil {
			return Sample{}, false
		}
		c.open[container.ID] = g
	}
	g.round = c.round
	s := Sample{Pod: p.UID, Container: container.Name, At: time.Now()}
	cpu, ok := c.layout.parseCPU(c.content(g.cpu))
	if !ok {
		return s, c.drop(container.ID)
	}
	s.CPU = cpu
	used, ok := parseNumber(c.content(g.memory))
	if !ok {
		return s, c.drop(container.ID)
	}
	s.Memory = used - min(used, lineNumber(c.content(g.stat), c.layout.inactive))
	return s, true
}

// drop closes a group that is gone.
func (c *Cgroups) drop(id string) bool {
	c.open[id].close()
	delete(c.open, id)
	return false
}

// content reads a file from its beginning; empty when its group is gone.
func (c *Cgroups) content(fd int) []byte {
	n, err := unix.Pread(fd, c.buffer, 0)
	if err != nil {
		return nil
	}
	return c.buffer[:n]
}

// find opens the files of a container's group; nil where there are none.
func (c *Cgroups) find(node string, container topology.Container) *group {
	for _, path := range c.groups(node, container) {
		if g, err := c.layout.openGroup(path); err == nil {
			return g
		}
	}
	return nil
}

func (l layout) openGroup(path string) (*group, error) {
	g := &group{}
	var errs [3]error
	g.cpu, errs[0] = openFile(filepath.Join(l.cpu, path, l.cpuFile))
	g.memory, errs[1] = openFile(filepath.Join(l.memory, path, l.memoryFile))
	g.stat, errs[2] = openFile(filepath.Join(l.memory, path, "memory.stat"))
	if err := errors.Join(errs[:]...); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func openFile(path string) (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) }

func (g *group) close() {
	for _, fd := range []int{g.cpu, g.memory, g.stat} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// closeOthers closes what was not read this time.
func (c *Cgroups) closeOthers() {
	for id, g := range c.open {
		if g.round != c.round {
			c.drop(id)
		}
	}
}

// Close closes all files.
func (c *Cgroups) Close() {
	c.round++
	c.closeOthers()
}

func parseNumber(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}

func parseNanoseconds(b []byte) (time.Duration, bool) {
	n, ok := parseNumber(b)
	return time.Duration(n), ok
}

// parseCPUStat reads the line "usage_usec N" of cpu.stat.
func parseCPUStat(b []byte) (time.Duration, bool) {
	if !bytes.HasPrefix(b, []byte("usage_usec ")) && !bytes.Contains(b, []byte("\nusage_usec ")) {
		return 0, false
	}
	return time.Duration(lineNumber(b, []byte("usage_usec "))) * time.Microsecond, true
}

// lineNumber is the number that follows a name, which ends with a space, at the start of a line; 0 where there is none.
func lineNumber(b, name []byte) uint64 {
	for len(b) > 0 {
		line := b
		if end := bytes.IndexByte(b, '\n'); end >= 0 {
			line, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		if rest, ok := bytes.CutPrefix(line, name); ok {
			n, _ := strconv.ParseUint(string(rest), 10, 64)
			return n
		}
	}
	return 0
}
