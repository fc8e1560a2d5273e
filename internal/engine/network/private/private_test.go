package private

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// role tells a copy of this test program what to be instead of a test: "outside" calls Exec, "inside" is what runs there.
const role = "ESCALE_PRIVATE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "outside":
		os.Exit(outside())
	case "inside":
		os.Exit(inside())
	}
	os.Exit(m.Run())
}

// outside listens on the address it prints and runs this program again in a private network.
func outside() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(l.Addr())
	_ = os.Setenv(role, "inside")
	code, err := Exec(map[string]net.Listener{"gate": l}, os.Args[1:])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}

// inside answers each connection with what it finds, until it is asked to end.
func inside() int {
	listeners, ok := Inherited()
	if _, again := os.LookupEnv(variable); !ok || again || listeners["gate"] == nil {
		return 2
	}
	for {
		c, err := listeners["gate"].Accept()
		if err != nil {
			return 3
		}
		interfaces, err := net.Interfaces()
		fmt.Fprintln(c, os.Getuid(), os.Getpid(), len(interfaces), err)
		mount := syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, "")
		fmt.Fprintln(c, mount)
		if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(line))
			return n
		}
		c.Close()
	}
}

// start runs "outside" as uid and returns its process and the address it listens on.
func start(t *testing.T, uid uint32) (*exec.Cmd, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become other users")
	}
	cmd := exec.Command(program(t))
	cmd.Env = append(os.Environ(), role+"=outside")
	cmd.Stderr = os.Stderr
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(addr)
}

// program is a copy of this program that any user may run.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	dir, err := os.MkdirTemp("", "escale-private")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, self); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// visit connects to the program inside and returns its process number after checking what it says of itself.
func visit(t *testing.T, addr string) (net.Conn, int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	r := bufio.NewReader(c)
	facts, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var uid, pid, interfaces int
	if _, err := fmt.Sscan(facts, &uid, &pid, &interfaces); err != nil {
		t.Fatalf("%q: %v", facts, err)
	}
	if uid != 0 || interfaces > 3 {
		t.Errorf("inside is user %d with %d interfaces, want root with its own loopback", uid, interfaces)
	}
	mount, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if mount != "<nil>\n" {
		t.Errorf("mounting inside: %s", mount)
	}
	return c, pid
}

func TestExec(t *testing.T) {
	for _, user := range []struct {
		name string
		uid  uint32
	}{{"root", 0}, {"ordinary user", 65534}} {
		t.Run(user.name+": a listener from outside is served inside, and the exit code comes back", func(t *testing.T) {
			cmd, addr := start(t, user.uid)
			c, _ := visit(t, addr)
			if mounted(t, "/mnt") {
				t.Error("a mount made inside shows outside")
			}
			fmt.Fprintln(c, 7)
			if code, err := code(cmd.Wait()); code != 7 || err != nil {
				t.Errorf("exit code %d (%v), want 7", code, err)
			}
		})
		t.Run(user.name+": SIGTERM is passed on", func(t *testing.T) {
			cmd, addr := start(t, user.uid)
			visit(t, addr)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			want := 128 + int(syscall.SIGTERM)
			if code, err := code(cmd.Wait()); code != want || err != nil {
				t.Errorf("exit code %d (%v), want %d", code, err, want)
			}
		})
		t.Run(user.name+": kill -9 outside ends inside", func(t *testing.T) {
			cmd, addr := start(t, user.uid)
			c, _ := visit(t, addr)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			// The connection ends with the last process that has it open.
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		})
	}
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), " "+dir+" ")
}

func TestExplain(t *testing.T) {
	cause := syscall.EPERM
	for name, c := range map[string]struct {
		settings map[string]string
		want     string
	}{
		"Debian's switch":      {map[string]string{settingClone: "0", settingMaximum: "1000"}, "`sysctl -w kernel.unprivileged_userns_clone=1`"},
		"Ubuntu's restriction": {map[string]string{settingAppArmor: "1"}, "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"},
		"no namespaces left":   {map[string]string{settingMaximum: "0"}, "`sysctl -w user.max_user_namespaces=10000`"},
		"nothing known":        {map[string]string{settingClone: "1", settingAppArmor: "0", settingMaximum: "5"}, "as some containers do"},
	} {
		t.Run(name, func(t *testing.T) {
			err := explain(cause, c.settings)
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want the cause and %q", err, c.want)
			}
		})
	}
}

func TestExecRefusesAListenerWithoutASocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Exec(map[string]net.Listener{"gate": struct{ net.Listener }{l}}, nil)
	if err == nil || !strings.Contains(err.Error(), `"gate"`) {
		t.Errorf("got %v, want an error that names the listener", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}
