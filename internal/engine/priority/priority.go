// Package priority puts the platform ahead of what it runs: on a machine whose cores are all busy, the scheduler, the
// gateway and the API have to go on, or nothing can be done about it.
package priority

import (
	"os"
	"strconv"
	"syscall"
)

// The nice values of setpriority(2): lower goes first.
const (
	// Platform is for the control plane, the gateway and the portal.
	Platform = -5
	// Node is for kubelets, and so for the pods they start.
	Node = 0
)

// Set gives all threads of the calling process this nice value; those started later inherit it. Raising the priority
// takes a right that only root has. Without it nothing changes.
func Set(nice int) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, nice)
		}
	}
}
