// Package priority says how the kernel treats the platform's own processes: on a machine whose cores are all busy, the
// scheduler, the gateway and the API go ahead of what they run, or nothing could be done about it; on one that is idle,
// they wake up as seldom as they can.
package priority

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// The nice values of setpriority(2): lower goes first.
const (
	// Platform is for the control plane, the gateway and the portal.
	Platform = -5
	// Node is for kubelets, and so for the pods they start.
	Node = 0
)

// timerSlack is how late a timer may come. Kubernetes' controllers and caches have some hundred timers a second at rest,
// each at a time of its own; this lets one wake-up serve several, which saves about a third of the processor time at idle.
// What arrives on a connection wakes the process up as before.
const timerSlack = 5 * time.Millisecond

// Set gives all threads of the calling process this nice value; those started later inherit it. Raising the priority
// takes a right that only root has. Without it nothing changes.
func Set(nice int) {
	eachThread(func(id int) { _ = syscall.Setpriority(syscall.PRIO_PROCESS, id, nice) })
}

// Patient lets timers of the calling process come a little late: those of all its threads, of threads started later, and
// of programs it starts, unless these say otherwise, as pods do. It takes a right that only root has. Without it nothing
// changes.
func Patient() {
	slack := []byte(strconv.FormatInt(timerSlack.Nanoseconds(), 10))
	eachThread(func(id int) { _ = os.WriteFile("/proc/"+strconv.Itoa(id)+"/timerslack_ns", slack, 0) })
}

// eachThread calls f with the id of every thread of the calling process.
func eachThread(f func(id int)) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			f(id)
		}
	}
}
