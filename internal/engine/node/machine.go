package node

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	cadvisorapiv2 "github.com/google/cadvisor/info/v2"
	"golang.org/x/sys/unix"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
)

// tick is the unit of processor time in /proc/stat: USER_HZ, 100 on every architecture Go runs on.
const tick = time.Second / 100

// allPods is the name under which the kubelet asks for what the pods of the node use together.
const allPods = "/pods"

// machine tells the kubelet about the machine, read when it asks: no housekeeping and no polling of its own. The usage
// of "/" is the whole machine's, which is what eviction must go by, and that of allPods is the node's own.
type machine struct {
	// node and root are the node's name and the folder whose file system holds pods and images.
	node, root string
	// memory is the node's share of the machine.
	memory uint64
	// pods tells what the node's containers use: processor time in nanoseconds, and memory.
	pods func(context.Context) (cpu, memory uint64, err error)

	mu   sync.Mutex
	last cpuSample
}

var _ cadvisor.Interface = (*machine)(nil)

type cpuSample struct {
	at   time.Time
	used time.Duration
	rate uint64
}

// Start has nothing to start.
func (m *machine) Start() error { return nil }

// MachineInfo is what the machine has.
func (m *machine) MachineInfo() (*cadvisorapi.MachineInfo, error) {
	mem, err := memory()
	if err != nil {
		return nil, err
	}
	id := firstLine("/etc/machine-id")
	return &cadvisorapi.MachineInfo{
		Timestamp:      time.Now(),
		NumCores:       runtime.NumCPU(),
		MemoryCapacity: mem["MemTotal"],
		SwapCapacity:   mem["SwapTotal"],
		MachineID:      id,
		SystemUUID:     id + "-" + m.node,
		BootID:         firstLine("/proc/sys/kernel/random/boot_id"),
	}, nil
}

// VersionInfo names the kernel and the distribution.
func (m *machine) VersionInfo() (*cadvisorapi.VersionInfo, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	return &cadvisorapi.VersionInfo{
		KernelVersion:      unix.ByteSliceToString(u.Release[:]),
		ContainerOsVersion: osName(),
	}, nil
}

// ContainerInfoV2 knows two: the machine, "/", and allPods. What each container uses is the runtimes' to tell.
func (m *machine) ContainerInfoV2(name string, _ cadvisorapiv2.RequestOptions) (map[string]cadvisorapiv2.ContainerInfo, error) {
	switch name {
	case "/":
		return m.everything()
	case allPods:
		cpu, memory, err := m.pods(context.Background())
		if err != nil {
			return nil, fmt.Errorf("adding up what pods use: %w", err)
		}
		return usage(name, m.memory, &cadvisorapiv2.ContainerStats{
			Timestamp: time.Now(),
			Cpu:       &cadvisorapi.CpuStats{Usage: cadvisorapi.CpuUsage{Total: cpu}},
			Memory:    &cadvisorapi.MemoryStats{Usage: memory, WorkingSet: memory},
		}), nil
	}
	return nil, nil
}

func (m *machine) everything() (map[string]cadvisorapiv2.ContainerInfo, error) {
	mem, err := memory()
	if err != nil {
		return nil, err
	}
	cpu, err := m.cpu()
	if err != nil {
		return nil, err
	}
	return usage("/", mem["MemTotal"], &cadvisorapiv2.ContainerStats{
		Timestamp: cpu.at,
		Cpu:       &cadvisorapi.CpuStats{Usage: cadvisorapi.CpuUsage{Total: uint64(cpu.used)}},
		CpuInst:   &cadvisorapiv2.CpuInstStats{Usage: cadvisorapiv2.CpuInstUsage{Total: cpu.rate}},
		Memory: &cadvisorapi.MemoryStats{
			Usage:      mem["MemTotal"] - mem["MemFree"],
			WorkingSet: mem["MemTotal"] - mem["MemAvailable"],
			RSS:        mem["AnonPages"],
		},
	}), nil
}

func usage(name string, memory uint64, stats *cadvisorapiv2.ContainerStats) map[string]cadvisorapiv2.ContainerInfo {
	return map[string]cadvisorapiv2.ContainerInfo{name: {
		Spec:  cadvisorapiv2.ContainerSpec{HasCpu: true, HasMemory: true, Memory: cadvisorapiv2.MemorySpec{Limit: memory}},
		Stats: []*cadvisorapiv2.ContainerStats{stats},
	}}
}

// GetRequestedContainersInfo knows no containers.
func (m *machine) GetRequestedContainersInfo(string, cadvisorapiv2.RequestOptions) (map[string]*cadvisorapi.ContainerInfo, error) {
	return map[string]*cadvisorapi.ContainerInfo{}, nil
}

// ImagesFsInfo is about the file system that holds images.
func (m *machine) ImagesFsInfo(context.Context) (cadvisorapiv2.FsInfo, error) {
	return m.GetDirFsInfo(m.root)
}

// ContainerFsInfo is about the file system that holds what containers write.
func (m *machine) ContainerFsInfo(context.Context) (cadvisorapiv2.FsInfo, error) {
	return m.GetDirFsInfo(m.root)
}

// RootFsInfo is about the file system that holds pods.
func (m *machine) RootFsInfo() (cadvisorapiv2.FsInfo, error) { return m.GetDirFsInfo(m.root) }

// GetDirFsInfo is about the file system that holds path.
func (m *machine) GetDirFsInfo(path string) (cadvisorapiv2.FsInfo, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return cadvisorapiv2.FsInfo{}, fmt.Errorf("asking for the file system of %q: %w", path, err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return cadvisorapiv2.FsInfo{}, fmt.Errorf("asking for the device of %q: %w", path, err)
	}
	block := uint64(fs.Bsize)
	return cadvisorapiv2.FsInfo{
		Timestamp:  time.Now(),
		Device:     fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)),
		Mountpoint: path,
		Capacity:   fs.Blocks * block,
		Available:  fs.Bavail * block,
		Usage:      (fs.Blocks - fs.Bfree) * block,
		Inodes:     &fs.Files,
		InodesFree: &fs.Ffree,
	}, nil
}

// cpu is the machine's processor time and its rate, in nanoseconds per second, since the sample before.
func (m *machine) cpu() (cpuSample, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuSample{}, fmt.Errorf("reading processor time: %w", err)
	}
	used, err := parseCPU(b)
	if err != nil {
		return cpuSample{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := cpuSample{at: time.Now(), used: used}
	if since := now.at.Sub(m.last.at); !m.last.at.IsZero() && since > 0 && used >= m.last.used {
		now.rate = uint64(float64(used-m.last.used) / since.Seconds())
	}
	m.last = now
	return now, nil
}

// parseCPU is the processor time not idle in the content of /proc/stat; its first line is
// "cpu user nice system idle iowait irq softirq steal guest guest_nice", see proc(5). Guest time is part of user time.
func parseCPU(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 5 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat starts with %q", line)
	}
	var ticks uint64
	for i, f := range fields[1:min(len(fields), 9)] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat starts with %q: %w", line, err)
		}
		if idle := i == 3 || i == 4; !idle {
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}

// memory is /proc/meminfo in bytes.
func memory() (map[string]uint64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("reading memory: %w", err)
	}
	return parseMemory(b), nil
}

// parseMemory reads lines such as "MemTotal:  24684092 kB"; lines of another form are not sizes.
func parseMemory(meminfo []byte) map[string]uint64 {
	out := map[string]uint64{}
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		number, ok := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if n, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
			out[name] = n * 1024
		}
	}
	return out
}

// osName is the distribution's name for people.
func osName() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return "Linux"
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}
