package process

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/internal/engine/runtime/process/shim"
)

// defaultPath is where programs are looked for unless the pod or the image says otherwise.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultCapabilities are those Docker gives to root, without mknod: there is no device filter to stop what it makes.
const defaultCapabilities uint64 = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP |
	1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL |
	1<<unix.CAP_AUDIT_WRITE

const allCapabilities = ^uint64(0)

// capabilityNames are the numbers the kernel gives to names, see capabilities(7).
var capabilityNames = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// capabilities decides what a program can have at most. A user other than root gets none: the kernel takes them away
// when the user changes, and without set-user-id programs they cannot come back.
func capabilities(ctx *runtimeapi.LinuxContainerSecurityContext, uid int) (uint64, error) {
	if ctx.GetPrivileged() {
		return allCapabilities, nil
	}
	if uid != 0 {
		return 0, nil
	}
	asked := ctx.GetCapabilities()
	drop, err := capabilitySet(asked.GetDropCapabilities())
	if err != nil {
		return 0, err
	}
	add, err := capabilitySet(asked.GetAddCapabilities())
	if err != nil {
		return 0, err
	}
	// "drop ALL, add X" leaves X, "add ALL, drop X" all but X, as elsewhere.
	set := defaultCapabilities&^drop | add
	if add == allCapabilities {
		set = allCapabilities &^ drop
	}
	return set &^ (1 << unix.CAP_MKNOD), nil
}

func capabilitySet(names []string) (uint64, error) {
	var set uint64
	for _, n := range names {
		short := strings.TrimPrefix(strings.ToUpper(n), "CAP_")
		i := slices.Index(capabilityNames, short)
		switch {
		case short == "ALL":
			set = allCapabilities
		case i < 0:
			return 0, fmt.Errorf("capability %q is unknown", n)
		default:
			set |= 1 << i
		}
	}
	return set, nil
}

// parseUser reads the numeric form of an image's USER, "uid[:gid]"; empty is root.
func parseUser(s string) (shim.User, error) {
	uid, gid, both := strings.Cut(s, ":")
	var u shim.User
	var err error
	if uid != "" {
		if u.UID, err = parseID(uid); err != nil {
			return u, fmt.Errorf("user %q: only numbers are supported, set runAsUser", s)
		}
	}
	if both {
		if u.GID, err = parseID(gid); err != nil {
			return u, fmt.Errorf("group %q: only numbers are supported, set runAsGroup", s)
		}
	}
	return u, nil
}

func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}

// identity decides who runs a container.
func identity(ctx *runtimeapi.LinuxContainerSecurityContext, image imageRecord) (shim.User, error) {
	if name := ctx.GetRunAsUsername(); name != "" {
		return shim.User{}, fmt.Errorf("user name %q: only numbers are supported, set runAsUser", name)
	}
	var u shim.User
	if ctx.GetRunAsUser() != nil {
		u.UID = int(ctx.RunAsUser.Value)
	} else {
		var err error
		if u, err = parseUser(image.User); err != nil {
			return u, err
		}
	}
	if ctx.GetRunAsGroup() != nil {
		u.GID = int(ctx.RunAsGroup.Value)
	}
	for _, g := range ctx.GetSupplementalGroups() {
		u.Groups = append(u.Groups, int(g))
	}
	return u, nil
}

// arguments puts command and arguments together: a command replaces all the image says, arguments its Cmd.
func arguments(c *runtimeapi.ContainerConfig, image imageRecord) ([]string, error) {
	args := slices.Clone(c.Command)
	if len(args) == 0 {
		args = slices.Clone(image.Entrypoint)
		if len(c.Args) == 0 {
			args = append(args, image.Cmd...)
		}
	}
	args = append(args, c.Args...)
	if len(args) == 0 {
		return nil, fmt.Errorf("no program to run: the image %q names none, set command", c.GetImage().GetUserSpecifiedImage())
	}
	return args, nil
}

// environment puts the image's variables, the pod's and the defaults together; the pod's win.
func environment(c *runtimeapi.ContainerConfig, image imageRecord, hostname string, uid int) []string {
	home := "/tmp"
	if uid == 0 {
		home = "/root"
	}
	env := []string{"PATH=" + defaultPath, "HOME=" + home, "HOSTNAME=" + hostname, "HOST=0.0.0.0"}
	if c.Tty {
		env = append(env, "TERM=xterm")
	}
	for _, e := range image.Env {
		env = setVariable(env, e)
	}
	for _, kv := range c.Envs {
		env = setVariable(env, kv.Key+"="+string(kv.Value))
	}
	return env
}

func setVariable(env []string, e string) []string {
	name, _, _ := strings.Cut(e, "=")
	for i, old := range env {
		if strings.HasPrefix(old, name+"=") {
			env[i] = e
			return env
		}
	}
	return append(env, e)
}

// workingDir is the pod's, the image's, or where its files are.
func workingDir(c *runtimeapi.ContainerConfig, image *usedImage) string {
	switch {
	case c.WorkingDir != "":
		return c.WorkingDir
	case image.WorkingDir != "":
		return image.WorkingDir
	case image.files != "":
		return shim.ImageDir
	}
	return "/"
}

// mounts translates volumes, outer ones first, so that an inner one is attached inside.
func mounts(c *runtimeapi.ContainerConfig) ([]shim.Mount, error) {
	var ms []shim.Mount
	for _, m := range c.Mounts {
		if m.GetImage().GetImage() != "" {
			return nil, fmt.Errorf("mount %q: image volumes are not supported by runtime class \"process\"", m.ContainerPath)
		}
		dest := path.Clean("/" + m.ContainerPath)
		if dest == "/" || dest == "/proc" || strings.HasPrefix(dest, "/proc/") {
			return nil, fmt.Errorf("mount %q: cannot be mounted over", m.ContainerPath)
		}
		ms = append(ms, shim.Mount{Source: m.HostPath, Destination: dest, ReadOnly: m.Readonly})
	}
	slices.SortStableFunc(ms, func(a, b shim.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return ms, nil
}

func devices(c *runtimeapi.ContainerConfig) []shim.Mount {
	var ds []shim.Mount
	for _, d := range c.Devices {
		ds = append(ds, shim.Mount{Source: d.HostPath, Destination: d.ContainerPath, ReadOnly: !strings.Contains(d.Permissions, "w")})
	}
	return ds
}

// stopSignal is the pod's, the image's, or SIGTERM.
func stopSignal(c *runtimeapi.ContainerConfig, image imageRecord) unix.Signal {
	if s := c.GetStopSignal(); s != runtimeapi.Signal_RUNTIME_DEFAULT {
		if n := parseSignal(s.String()); n != 0 {
			return n
		}
	}
	if n := parseSignal(image.StopSignal); n != 0 {
		return n
	}
	return unix.SIGTERM
}

// parseSignal reads "SIGTERM", "TERM", "15" or the API's "SIGRTMINPLUS3"; 0 is none.
func parseSignal(s string) unix.Signal {
	if n, err := strconv.ParseUint(s, 10, 7); err == nil {
		return unix.Signal(n)
	}
	s = "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for prefix, base := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			rest = strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(rest)
			n, _ := strconv.Atoi(rest)
			return unix.Signal(base + n)
		}
	}
	return unix.SignalNum(s)
}
