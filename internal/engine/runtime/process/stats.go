package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// figures are what a container uses at one moment.
type figures struct {
	at time.Time
	// cpu is the processor time used since the start.
	cpu time.Duration
	// usage, workingSet and rss are bytes; the working set is what cannot be dropped at once.
	usage, workingSet, rss uint64
	faults, majorFaults    uint64
	// limit is 0 without one.
	limit uint64
}

// cpuSample remembers a reading of the processor time, for the rate since.
type cpuSample struct {
	at   time.Time
	used time.Duration
	rate uint64
}

// minSample is how far apart two readings must be for a rate; closer ones return the last rate.
const minSample = 100 * time.Millisecond

// advance returns the next sample. Its rate is in billionths of a core, as Kubernetes counts.
func (s cpuSample) advance(at time.Time, used time.Duration) cpuSample {
	span := at.Sub(s.at)
	if span < minSample || used < s.used {
		return s
	}
	return cpuSample{at: at, used: used, rate: uint64(float64(used-s.used) / span.Seconds())}
}

// ContainerStats returns what a container uses now.
func (r *Runtime) ContainerStats(_ context.Context, id string) (*runtimeapi.ContainerStats, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	return r.measure(c)
}

// ListContainerStats returns what the running containers use now.
func (r *Runtime) ListContainerStats(_ context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return r.measureAll(r.selectRunning(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector())), nil
}

func (r *Runtime) selectRunning(id, sandboxID string, labels map[string]string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var cs []*container
	for _, c := range r.containers {
		running := c.state == runtimeapi.ContainerState_CONTAINER_RUNNING
		if running && c.matches(&runtimeapi.ContainerFilter{Id: id, PodSandboxId: sandboxID, LabelSelector: labels}) {
			cs = append(cs, c)
		}
	}
	return cs
}

// measureAll leaves out containers that end while they are looked at.
func (r *Runtime) measureAll(cs []*container) []*runtimeapi.ContainerStats {
	var all []*runtimeapi.ContainerStats
	for _, c := range cs {
		if s, err := r.measure(c); err == nil {
			all = append(all, s)
		}
	}
	return all
}

func (r *Runtime) measure(c *container) (*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	g, p := c.cgroup, c.process
	r.mu.Unlock()
	f, err := read(g, p)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", c.id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.cpu = c.cpu.advance(f.at, f.cpu)
	return &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id: c.id, Metadata: c.config.Metadata, Labels: c.config.Labels, Annotations: c.config.Annotations,
		},
		Cpu:           f.cpuUsage(c.cpu),
		Memory:        f.memoryUsage(),
		WritableLayer: usage(r.config.StateDir, 0),
	}, nil
}

// read takes the figures from the cgroup, or from the process and its descendants without one.
func read(g *cgroup, p *process) (figures, error) {
	if g != nil && g.has("memory") && (g.unified || g.has("cpuacct")) {
		return g.figures()
	}
	if p == nil {
		return figures{}, errors.New("does not run")
	}
	return treeFigures(p.pid)
}

func (f figures) cpuUsage(s cpuSample) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{
		Timestamp: f.at.UnixNano(), UsageCoreNanoSeconds: value(uint64(f.cpu)), UsageNanoCores: value(s.rate),
	}
}

func (f figures) memoryUsage() *runtimeapi.MemoryUsage {
	u := &runtimeapi.MemoryUsage{
		Timestamp: f.at.UnixNano(), WorkingSetBytes: value(f.workingSet), UsageBytes: value(f.usage), RssBytes: value(f.rss),
		PageFaults: value(f.faults), MajorPageFaults: value(f.majorFaults),
	}
	if f.limit > f.workingSet {
		u.AvailableBytes = value(f.limit - f.workingSet)
	}
	return u
}

func value(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

// PodSandboxStats returns what a pod uses now.
func (r *Runtime) PodSandboxStats(_ context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	s, err := r.sandbox(id)
	if err != nil {
		return nil, err
	}
	traffic, err := r.router.traffic()
	if err != nil {
		return nil, err
	}
	return r.measurePod(s, traffic), nil
}

// ListPodSandboxStats returns what the ready pods use now.
func (r *Runtime) ListPodSandboxStats(_ context.Context, f *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	traffic, err := r.router.traffic()
	if err != nil {
		return nil, err
	}
	var all []*runtimeapi.PodSandboxStats
	for _, s := range r.selectReady(f) {
		all = append(all, r.measurePod(s, traffic))
	}
	return all, nil
}

func (r *Runtime) selectReady(f *runtimeapi.PodSandboxStatsFilter) []*sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ss []*sandbox
	for _, s := range r.sandboxes {
		if s.ready && s.matches(&runtimeapi.PodSandboxFilter{Id: f.GetId(), LabelSelector: f.GetLabelSelector()}) {
			ss = append(ss, s)
		}
	}
	return ss
}

func (r *Runtime) measurePod(s *sandbox, traffic map[int]netlink.LinkStatistics) *runtimeapi.PodSandboxStats {
	containers := r.measureAll(r.selectRunning("", s.id, nil))
	r.mu.Lock()
	veth := 0
	if s.space != nil {
		veth = s.space.veth
	}
	r.mu.Unlock()
	at := time.Now().UnixNano()
	linux := &runtimeapi.LinuxPodSandboxStats{Containers: containers, Process: &runtimeapi.ProcessUsage{Timestamp: at}}
	linux.Cpu, linux.Memory = total(at, containers)
	if t, ok := traffic[veth]; ok {
		linux.Network = &runtimeapi.NetworkUsage{Timestamp: at, DefaultInterface: &runtimeapi.NetworkInterfaceUsage{
			Name: podInterface, RxBytes: value(t.RxBytes), TxBytes: value(t.TxBytes),
			RxErrors: value(t.RxErrors), TxErrors: value(t.TxErrors),
		}}
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: s.id, Metadata: s.config.Metadata, Labels: s.config.Labels, Annotations: s.config.Annotations,
		},
		Linux: linux,
	}
}

// total adds up a pod's containers: there is nothing else in a pod.
func total(at int64, cs []*runtimeapi.ContainerStats) (*runtimeapi.CpuUsage, *runtimeapi.MemoryUsage) {
	var used, rate, workingSet, usage, rss, faults, major uint64
	for _, c := range cs {
		used += c.Cpu.UsageCoreNanoSeconds.GetValue()
		rate += c.Cpu.UsageNanoCores.GetValue()
		workingSet += c.Memory.WorkingSetBytes.GetValue()
		usage += c.Memory.UsageBytes.GetValue()
		rss += c.Memory.RssBytes.GetValue()
		faults += c.Memory.PageFaults.GetValue()
		major += c.Memory.MajorPageFaults.GetValue()
	}
	return &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: value(used), UsageNanoCores: value(rate)},
		&runtimeapi.MemoryUsage{
			Timestamp: at, WorkingSetBytes: value(workingSet), UsageBytes: value(usage), RssBytes: value(rss),
			PageFaults: value(faults), MajorPageFaults: value(major),
		}
}

// ListMetricDescriptors returns none: the runtime has no metrics beyond its statistics.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics returns none.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}

// figures reads three small files; the library's statistics read twenty.
func (g *cgroup) figures() (figures, error) {
	if g.unified {
		return g.unifiedFigures()
	}
	f := figures{at: time.Now()}
	cpu, err := readNumber(g.folders["cpuacct"], "cpuacct.usage")
	if err != nil {
		return f, err
	}
	f.cpu = time.Duration(cpu)
	if f.usage, err = readNumber(g.folders["memory"], "memory.usage_in_bytes"); err != nil {
		return f, err
	}
	stat, err := readTable(g.folders["memory"], "memory.stat")
	if err != nil {
		return f, err
	}
	f.workingSet = f.usage - min(f.usage, stat["total_inactive_file"])
	f.rss, f.faults, f.majorFaults = stat["total_rss"], stat["total_pgfault"], stat["total_pgmajfault"]
	f.limit = realLimit(stat["hierarchical_memory_limit"])
	return f, nil
}

func (g *cgroup) unifiedFigures() (figures, error) {
	f := figures{at: time.Now()}
	dir := g.folders[""]
	cpu, err := readTable(dir, "cpu.stat")
	if err != nil {
		return f, err
	}
	f.cpu = time.Duration(cpu["usage_usec"]) * time.Microsecond
	if f.usage, err = readNumber(dir, "memory.current"); err != nil {
		return f, err
	}
	stat, err := readTable(dir, "memory.stat")
	if err != nil {
		return f, err
	}
	f.workingSet = f.usage - min(f.usage, stat["inactive_file"])
	f.rss, f.faults, f.majorFaults = stat["anon"], stat["pgfault"], stat["pgmajfault"]
	// The word "max" is no number, and no limit.
	if n, err := readNumber(dir, "memory.max"); err == nil {
		f.limit = n
	}
	return f, nil
}

// realLimit turns the huge number that stands for no limit into 0.
func realLimit(n uint64) uint64 {
	const huge = 1 << 60
	if n >= huge {
		return 0
	}
	return n
}

func readNumber(dir, file string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
}

// readTable reads lines "name number".
func readTable(dir, file string) (map[string]uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	return parseTable(b), nil
}

// parseTable leaves out lines of any other form.
func parseTable(b []byte) map[string]uint64 {
	t := map[string]uint64{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, number, ok := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
			t[name] = n
		}
	}
	return t
}

// treeFigures adds up a process and its descendants. Memory shared between them counts for each, and time used by
// children that have ended counts once their parent has waited for them.
func treeFigures(pid int) (figures, error) {
	f := figures{at: time.Now()}
	if err := f.addProcess(pid); err != nil {
		return f, err
	}
	f.workingSet, f.usage = f.rss, f.rss
	return f, nil
}

func (f *figures) addProcess(pid int) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return err
	}
	st, err := parseProcStat(string(b))
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	f.cpu += st.cpu
	f.rss += st.rss
	f.faults += st.faults
	f.majorFaults += st.majorFaults
	tasks, err := filepath.Glob(filepath.Join(dir, "task", "*", "children"))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		children, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for _, c := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(c); err == nil {
				_ = f.addProcess(n) // it may have ended as well
			}
		}
	}
	return nil
}

// clockTick is the unit of times in /proc/PID/stat: the kernel shows 100 a second on all Linux platforms Go runs on.
const clockTick = time.Second / 100

// parseProcStat reads /proc/PID/stat, see proc_pid_stat(5). The second field is in parentheses and may hold anything.
func parseProcStat(s string) (figures, error) {
	end := strings.LastIndexByte(s, ')')
	if end < 0 {
		return figures{}, errors.New("stat has no name")
	}
	fields := strings.Fields(s[end+1:])
	const first = 3 // the number of the first field here in the manual page
	at := func(n int) uint64 {
		if n-first >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseUint(fields[n-first], 10, 64)
		return v
	}
	ticks := at(14) + at(15) + at(16) + at(17)
	return figures{
		cpu: time.Duration(ticks) * clockTick, rss: at(24) * uint64(os.Getpagesize()),
		faults: at(10), majorFaults: at(12),
	}, nil
}
