// Package memory gives back what a process needed for its start only. The program is large, its start touches nearly all
// of it once, and several of its processes run on one machine.
package memory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// gcPercent lets the heap grow by half, instead of doubling, between collections. An idle platform allocates little, so
// the collector's extra work is small beside the memory it saves. The environment variable GOGC has the last word.
const gcPercent = 50

// settled is when, after its start, a process has found its working set: once it runs, once its first applications do,
// and once what it does now and then was done.
var settled = []time.Duration{15 * time.Second, 75 * time.Second, 5 * time.Minute}

// Limit makes the calling process careful with memory, at once and, with what its start left behind, once it has
// settled.
func Limit() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	for _, after := range settled {
		time.AfterFunc(after, GiveBack)
	}
}

// GiveBack collects garbage and returns to the machine what a burst of work needed: the heap that is free, and the pages
// of the program that it touched. It stops nothing, but costs a collection, so it is for when a burst is over.
func GiveBack() {
	debug.FreeOSMemory()
	dropProgramPages()
}

// dropProgramPages takes the pages of the program file out of this process's memory. They stay in the machine's page
// cache, and those that are needed come back when they are touched; see MADV_DONTNEED in madvise(2). It is best effort:
// where it fails, nothing but a chance to save is lost.
func dropProgramPages() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, m := range readOnly(f, program) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// readOnly lists the mappings of a file that cannot be written, and so can be read again from it, in the format of
// /proc/PID/maps; see proc_pid_maps(5).
func readOnly(maps io.Reader, file string) []mapping {
	var found []mapping
	for s := bufio.NewScanner(maps); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 6 || fields[5] != file || strings.Contains(fields[1], "w") {
			continue
		}
		var m mapping
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err == nil {
			found = append(found, m)
		}
	}
	return found
}
