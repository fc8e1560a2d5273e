package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Level says how much a finding matters.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // something will not work, or not as well
	Failed  Level = "failed"  // the platform will not start
)

// Finding is the result of one check.
type Finding struct {
	// Name of the check.
	Name string `json:"name"`
	// Level of the finding.
	Level Level `json:"level"`
	// Message says what was found, and what follows from it.
	Message string `json:"message"`
	// Next is what to do about it; empty where nothing is to be done.
	Next string `json:"next,omitempty"`
}

// Healthy says that nothing required is missing.
func Healthy(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Failed })
}

// minFree is the free space below which images and logs soon fill the disk.
const minFree = 2 << 30

// Judge turns facts into findings, in the order in which a person would repair them.
func Judge(f Facts) []Finding {
	var out []Finding
	for _, rule := range []func(Facts) Finding{
		platform, privileges, nft, overlay, cgroups, clock, dataDir, space, ports, network, forwarding, containerd,
	} {
		out = append(out, rule(f))
	}
	return append(out, programs(f)...)
}

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, Level: OK, Message: fmt.Sprintf(format, args...)}
}

func (f Finding) level(l Level, next string) Finding {
	f.Level, f.Next = l, next
	return f
}

func platform(f Facts) Finding {
	switch f.Platform.State {
	case "":
		return ok("platform", "none has been started in %q yet", f.Dir.Path)
	case "ready":
		if f.Platform.Problem != "" {
			return ok("platform", "it says it is ready, but %s", f.Platform.Problem).
				level(Warning, fmt.Sprintf("look at %s/platform.log, then start it again with `escale up`", f.Dir.Path))
		}
		return ok("platform", "it runs and answers")
	case "failed":
		return ok("platform", "the last one failed: %s", f.Platform.Problem).level(Warning, "correct that, then `escale up`")
	}
	return ok("platform", "it is %s", f.Platform.State)
}

// privileges says which isolation the machine allows.
func privileges(f Facts) Finding {
	switch {
	case f.Root:
		return ok("privileges", "root: pods are on the machine's network, with CPU and memory limits")
	case f.UserNamespaces == "":
		return ok("privileges", "not root: the platform gets a private network; pods reach each other, and nothing outside").
			level(Warning, "run it as root for pods on the machine's network")
	}
	return ok("privileges", "not root, and %s: without them an ordinary user can isolate nothing", f.UserNamespaces).
		level(Failed, "run `escale up` as root, or allow user namespaces: `sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0` (those that exist)")
}

func nft(f Facts) Finding {
	switch {
	case f.Nft.Program == "":
		return ok("nftables", "the program nft is missing: Service addresses are made with it").
			level(Failed, "`apt-get install nftables`, or the package of that name of your distribution")
	case f.Nft.Problem != "":
		return ok("nftables", "%s does not work: %s", f.Nft.Program, f.Nft.Problem).
			level(Failed, "load the kernel module with `modprobe nf_tables`, or use a kernel with CONFIG_NF_TABLES")
	}
	return ok("nftables", "%s works", f.Nft.Program)
}

func overlay(f Facts) Finding {
	if f.Overlay {
		return ok("overlayfs", "the kernel has it")
	}
	return ok("overlayfs", "the kernel does not list it: volumes cannot be mounted at folders the machine does not have").
		level(Warning, "`modprobe overlay`")
}

// wantControllers are the cgroup controllers that limit pods.
var wantControllers = []string{"cpu", "memory", "pids"}

func cgroups(f Facts) Finding {
	var missing []string
	for _, c := range wantControllers {
		if !slices.Contains(f.Cgroup.Writable, c) {
			missing = append(missing, c)
		}
	}
	switch {
	case f.Cgroup.Version == 0:
		return ok("cgroups", "none are mounted: pods are not limited and their use is not measured per pod").
			level(Warning, "mount them: `mount -t cgroup2 none /sys/fs/cgroup`")
	case len(missing) > 0:
		return ok("cgroups", "version %d, but %s cannot be used: these limits are not enforced", f.Cgroup.Version, strings.Join(missing, ", ")).
			level(Warning, "run as root on a machine, or in a container, that may write /sys/fs/cgroup")
	}
	return ok("cgroups", "version %d, with %s", f.Cgroup.Version, strings.Join(wantControllers, ", "))
}

// slack is how far the clock may be behind a file's time before it counts as wrong.
const slack = 5 * time.Minute

func clock(f Facts) Finding {
	if f.Now.Add(slack).Before(f.NotBefore) {
		return ok("clock", "it says %s, but files here are of %s: certificates would not be valid yet",
			f.Now.UTC().Format(time.DateTime), f.NotBefore.UTC().Format(time.DateTime)).
			level(Failed, "set the clock, best with `timedatectl set-ntp true`")
	}
	return ok("clock", "it says %s UTC", f.Now.UTC().Format(time.DateTime))
}

func dataDir(f Facts) Finding {
	if f.Dir.Problem != "" {
		return ok("data directory", "%q cannot be written: %s", f.Dir.Path, f.Dir.Problem).
			level(Failed, "choose another with --data-dir, or run as the user it belongs to")
	}
	return ok("data directory", "%q can be written", f.Dir.Path)
}

func space(f Facts) Finding {
	free := fmt.Sprintf("%.1f GiB", float64(f.Dir.Free)/(1<<30))
	if f.Dir.Problem == "" && f.Dir.Free < minFree {
		return ok("disk space", "%s free at %q, want 2 GiB", free, f.Dir.Path).
			level(Warning, "free some space, or choose another disk with --data-dir")
	}
	return ok("disk space", "%s free", free)
}

func ports(f Facts) Finding {
	if f.Platform.running() {
		return ok("ports", "those of the running platform")
	}
	var taken, flags []string
	for _, p := range f.Ports {
		if p.Problem != "" {
			taken = append(taken, fmt.Sprintf("%d (%s): %s", p.Port, p.Name, p.Problem))
			flags = append(flags, fmt.Sprintf("--%s-port 0", p.Name))
		}
	}
	if len(taken) > 0 {
		return ok("ports", "not free: %s", strings.Join(taken, "; ")).
			level(Failed, "stop what uses them, or `escale up "+strings.Join(flags, " ")+"` to take free ones")
	}
	return ok("ports", "free")
}

func network(f Facts) Finding {
	if f.Platform.running() {
		return ok("network", "that of the running platform")
	}
	if f.NetworkConflict != "" {
		return ok("network", "%s", f.NetworkConflict).level(Failed, "choose addresses nothing else uses with `escale up --network`")
	}
	return ok("network", "%s is not used by anything else", f.Network)
}

func forwarding(f Facts) Finding {
	if len(f.ForwardDrop) == 0 {
		return ok("other firewalls", "none drops what pods send to each other")
	}
	return ok("other firewalls", "%s drops forwarded packets, so pods may not reach each other", strings.Join(f.ForwardDrop, ", ")).
		level(Warning, fmt.Sprintf("let the pods' packets pass: `iptables -I FORWARD -s %[1]s -j ACCEPT; iptables -I FORWARD -d %[1]s -j ACCEPT`, or use --private-network", f.Network))
}

func containerd(f Facts) Finding {
	if !f.Containerd.Socket && f.Containerd.Installed {
		return ok("containerd", "it is installed and does not run: Apps with an image of their own cannot run; those with a source or a command can").
			level(Warning, "`systemctl start containerd`, if you need them")
	}
	if !f.Containerd.Socket {
		return ok("containerd", "not there: Apps with an image of their own cannot run; those with a source or a command can").
			level(Warning, "`apt-get install containerd runc containernetworking-plugins`, if you need them")
	}
	var missing []string
	for _, part := range []struct {
		there bool
		name  string
	}{{f.Containerd.Runc, "runc"}, {f.Containerd.Plugins, "containernetworking-plugins"}} {
		if !part.there {
			missing = append(missing, part.name)
		}
	}
	if len(missing) > 0 {
		return ok("containerd", "it runs, but %s is missing: its containers will not start", strings.Join(missing, " and ")).
			level(Warning, "`apt-get install "+strings.Join(missing, " ")+"`")
	}
	return ok("containerd", "it runs, with runc and network plugins")
}

// programs are what applications of this machine need; the platform does not.
func programs(f Facts) []Finding {
	var out []Finding
	for _, p := range []struct{ name, use, pkg string }{
		{"go", "sources in Go cannot be built", "golang-go"},
		{"python3", "the example shop's search does not start", "python3"},
		{"redis-server", "the example shop's database and queue do not start", "redis-server"},
	} {
		if path := f.Programs[p.name]; path != "" {
			out = append(out, ok(p.name, "%s", path))
			continue
		}
		out = append(out, ok(p.name, "missing: %s", p.use).level(Warning, "`apt-get install "+p.pkg+"`, if you need it"))
	}
	return out
}
