package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process that keeps its identity when its number is used again.
type process struct {
	pid   int
	start string // since boot, in ticks
}

// stat is the parent and the start of a process; see proc_pid_stat(5). The program's name may hold spaces and
// parentheses.
func stat(pid int) (parent int, start string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if fields[0] == "Z" {
		return 0, "", unix.ESRCH // dead, and only not yet seen by its parent
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err
}

func (p process) alive() bool {
	_, start, err := stat(p.pid)
	return err == nil && start == p.start
}

// descendants are the process and all below it.
func descendants(root int) []process {
	children := map[int][]process{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		if parent, start, err := stat(pid); err == nil {
			children[parent] = append(children[parent], process{pid, start})
		}
	}
	var all []process
	if _, start, err := stat(root); err == nil {
		all = append(all, process{root, start})
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

func cmdline(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}

// node is the process of a node.
func (p *platform) node(name string) (process, error) {
	for _, d := range descendants(p.cmd.Process.Pid) {
		c := cmdline(d.pid)
		if strings.Contains(c, " node run ") && strings.Contains(c, filepath.Join(p.dir, "nodes", name)+"/") {
			return d, nil
		}
	}
	return process{}, fmt.Errorf("node %q has no process", name)
}

// traces is what a running platform has on the machine and must not leave there.
type traces struct {
	dir       string
	processes []process
	cgroups   []string
}

// traces looks for them now.
func (p *platform) traces() traces {
	t := traces{dir: p.dir, processes: descendants(p.cmd.Process.Pid)}
	for _, d := range t.processes {
		for _, folder := range cgroupsOf(d.pid) {
			if strings.Contains(folder, "/escale") {
				t.cgroups = append(t.cgroups, folder, filepath.Dir(folder))
			}
		}
	}
	slices.Sort(t.cgroups)
	t.cgroups = slices.Compact(t.cgroups)
	return t
}

// cgroupsOf are the folders of a process' groups, for the version of cgroups that the machine has; see cgroups(7).
func cgroupsOf(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil
	}
	var folders []string
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for _, controller := range strings.Split(f[1], ",") {
				folders = append(folders, filepath.Join("/sys/fs/cgroup", controller, f[2]))
			}
		}
	}
	return folders
}

// alive are the processes that still run.
func (t traces) alive() error {
	var left []error
	for _, p := range t.processes {
		if p.alive() {
			left = append(left, fmt.Errorf("process %d still runs: %s", p.pid, cmdline(p.pid)))
		}
	}
	return errors.Join(left...)
}

// gone waits until nothing of the platform is on the machine any more.
func (t traces) gone(limit time.Duration) error {
	if len(t.processes) < 3 {
		return fmt.Errorf("found %d processes to begin with, want a platform's", len(t.processes))
	}
	return poll(limit, func() error {
		errs := []error{t.alive()}
		for _, folder := range t.cgroups {
			// The group of all platforms stays while there is another one.
			if _, err := os.Stat(folder); err == nil && filepath.Base(folder) != "escale" {
				errs = append(errs, fmt.Errorf("cgroup %s is still there", folder))
			}
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		errs = append(errs, err)
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, t.dir) {
				errs = append(errs, fmt.Errorf("still mounted: %s", line))
			}
		}
		return errors.Join(errs...)
	})
}
