package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// playNode is a node with one pod that runs as another user; it says the program's process number and waits to be
// killed.
func playNode() {
	dir := os.Getenv(nodeEnv)
	if err := runNode(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func runNode(dir string) error {
	if err := makeTestNetwork(); err != nil {
		return err
	}
	r, err := New(testConfig("test-death", dir))
	if err != nil {
		return err
	}
	pod, err := r.RunPodSandbox(context.Background(), podConfig(dir, "doomed"), "process")
	if err != nil {
		return err
	}
	c := program("sleep", "1000")
	c.Linux.SecurityContext.RunAsUser = value64(65534)
	id, err := r.CreateContainer(context.Background(), pod, c, nil)
	if err != nil {
		return err
	}
	if err := r.StartContainer(context.Background(), id); err != nil {
		return err
	}
	fmt.Println(r.containers[id].process.pid)
	select {}
}

func TestPodsDieWithTheNode(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), nodeEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
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
	tree := openCgroups("escale/test-death", testConfig("", dir).Log)
	if err := tree.close(); err != nil {
		t.Error(err)
	}
}
