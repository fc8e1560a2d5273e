package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// playNode is a node with one pod that runs as another user where there is one; it says the program's process number
// and waits to be killed, or for the program to end.
func playNode() {
	if err := runNode(os.Getenv(nodeEnv), os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func runNode(dir string, args []string) error {
	if err := makeTestNetwork(); err != nil {
		return err
	}
	if os.Getenv(unifiedEnv) != "" {
		if err := showUnified(); err != nil {
			return err
		}
	}
	r, err := New(testConfig(deathNode, dir))
	if err != nil {
		return err
	}
	pod, err := r.RunPodSandbox(context.Background(), podConfig(dir, "doomed"), "process")
	if err != nil {
		return err
	}
	c := program(args...)
	c.Linux.SecurityContext.RunAsUser = value64(65534)
	id, err := r.CreateContainer(context.Background(), pod, c, nil)
	if err != nil {
		return err
	}
	if err := r.StartContainer(context.Background(), id); err != nil {
		return err
	}
	fmt.Println(r.containers[id].process.pid)
	<-r.containers[id].stopped
	b, err := os.ReadFile(r.containers[id].log.path)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return errors.Join(err, r.Close(context.Background()))
}

// unifiedEnv makes the node see cgroups version 2 only, whatever the machine has.
const unifiedEnv = "ESCALE_TEST_UNIFIED"

func showUnified() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")
}

// node is a command that plays a node which runs args, in namespaces of its own.
func node(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), nodeEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

const deathNode = "test-death"

func TestPodsDieWithTheNode(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	cmd := node(dir, "sleep", "1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the node says %q", line)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	const patience = 30_000 // milliseconds
	if n, err := unix.Poll(fds, patience); n != 1 {
		t.Fatalf("program %d is still there: %v", pid, err)
	}
	// The next node of that name clears away what is left.
	config := testConfig(deathNode, dir)
	tree := openCgroups(CgroupOf(config.Node, config.StateDir), config.Log)
	if err := tree.close(); err != nil {
		t.Error(err)
	}
}

// Without root, a platform runs in a user namespace that has a single id.
func TestSingleUserNamespace(t *testing.T) {
	needRoot(t)
	const outside = 65534
	dir, err := os.MkdirTemp("", "escale-process")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chown(dir, outside, outside); err != nil {
		t.Fatal(err)
	}
	cmd := node(dir, "sh", "-c", "id -u; echo x > /tmp/x && cat /tmp/x; echo x > /dev/null; ls /proc | grep -c '^1$'; touch /etc/x 2>/dev/null || echo refused")
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: outside, Size: 1}}
	cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = one, one
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, warnings.String())
	}
	if got, want := textOf(string(out)), "0\nx\n1\nrefused\n"; got != want {
		t.Errorf("got %q, want %q, %s", got, want, warnings.String())
	}
	if n := strings.Count(warnings.String(), "own user"); n != 1 {
		t.Errorf("warned %d times: %s", n, warnings.String())
	}
}

// textOf is what the program of a played node wrote: a line with its number comes first.
func textOf(out string) string {
	var text strings.Builder
	_, log, _ := strings.Cut(out, "\n")
	for line := range strings.Lines(log) {
		text.WriteString(strings.SplitN(line, " ", 4)[3])
	}
	return text.String()
}

func TestCgroupsVersion2(t *testing.T) {
	needRoot(t)
	cmd := node(t.TempDir(), "sh", "-c", "head -n 1 /sys/fs/cgroup/cgroup.procs; grep -c ^0::/escale/ /proc/self/cgroup")
	cmd.Env = append(cmd.Env, unifiedEnv+"=1")
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNS
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := textOf(string(out)), "1\n1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
