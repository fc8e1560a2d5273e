package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// A container's first process is the program itself under another name. It must have become the container's program, or
// have failed, before the packages of Kubernetes initialise: each container would pay for them.
func TestTheFirstProcessOfAContainerStartsLight(t *testing.T) {
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var trace bytes.Buffer
	cmd := exec.Command(binary)
	cmd.Args = []string{"escale-init"}
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	cmd.Stderr = &trace
	if err := cmd.Run(); err == nil {
		t.Fatal("it ran without being told what to run")
	}
	if !strings.Contains(trace.String(), "init runtime") {
		t.Fatalf("no trace of initialisation: %s", &trace)
	}
	for line := range strings.Lines(trace.String()) {
		// Packages without imports of weight are ready early and cost nothing; those of the API are what takes long.
		if strings.Contains(line, " k8s.io/api/") || strings.Contains(line, " k8s.io/kubernetes/pkg/apis/") {
			t.Errorf("initialised before the container's program: %s", line)
		}
	}
}
