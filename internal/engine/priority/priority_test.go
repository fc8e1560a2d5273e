package priority

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Runs in a process of its own, because a priority that was lowered cannot be raised again without root.
func TestSetReachesAllThreadsAndChildren(t *testing.T) {
	if os.Getenv("PRIORITY_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", t.Name(), "-test.v")
		cmd.Env = append(os.Environ(), "PRIORITY_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	Set(7)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if got := nice(t, "/proc/self/task/"+thread.Name()+"/stat"); got != "7" {
			t.Errorf("thread %s has nice value %s, want 7", thread.Name(), got)
		}
	}
	out, err := exec.Command("cat", "/proc/self/stat").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := field(string(out)); got != "7" {
		t.Errorf("a child has nice value %s, want 7", got)
	}
}

func TestPatientReachesAllThreads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes a right of root's")
	}
	Patient()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		b, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(b)); got != "5000000" {
			t.Errorf("timers of thread %s come up to %s ns late, want 5000000", thread.Name(), got)
		}
	}
}

func nice(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return field(string(b))
}

// field is the nice value in proc_pid_stat(5), the 19th; what follows the name in parentheses begins with the third.
func field(stat string) string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[16]
}
