package hours

import (
	"encoding/json"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// AnnotationLedger is where a workload's Ledger is kept, as JSON.
const AnnotationLedger = "escale.dev/office-hours"

// Ledger is what office hours did to a workload.
type Ledger struct {
	// DownSince is when it was taken down; zero while it is up.
	DownSince time.Time `json:"downSince,omitzero"`
	// CPU in cores and Memory in bytes are what the pods that are not there would reserve.
	CPU    float64 `json:"cpu,omitempty"`
	Memory float64 `json:"memory,omitempty"`
	// Since is when counting began; the hours below are from the downtimes that are over.
	Since          time.Time `json:"since,omitzero"`
	CPUHours       float64   `json:"cpuHours,omitempty"`
	MemoryGiBHours float64   `json:"memoryGiBHours,omitempty"`
	// Error says which annotation cannot be read, and how to write it.
	Error string `json:"error,omitempty"`
}

// Saved is what was not reserved.
type Saved struct {
	CPUHours       float64 `json:"cpuHours"`
	MemoryGiBHours float64 `json:"memoryGiBHours"`
}

const gib = 1 << 30

// readLedger reads the annotation. One that a person has damaged begins anew.
func readLedger(annotations map[string]string) Ledger {
	var l Ledger
	if err := json.Unmarshal([]byte(annotations[AnnotationLedger]), &l); err != nil {
		return Ledger{}
	}
	for _, f := range []*float64{&l.CPU, &l.Memory, &l.CPUHours, &l.MemoryGiBHours} {
		if *f < 0 || math.IsInf(*f, 0) {
			*f = 0
		}
	}
	return l
}

// text is the annotation's value.
func (l Ledger) text() string {
	b, err := json.Marshal(l)
	if err != nil {
		return "{}" // a time that JSON cannot hold
	}
	return string(b)
}

// Saved until now, the present downtime included.
func (l Ledger) Saved(now time.Time) Saved {
	s := Saved{l.CPUHours, l.MemoryGiBHours}
	d := l.downtime(now)
	return Saved{s.CPUHours + d.CPUHours, s.MemoryGiBHours + d.MemoryGiBHours}
}

// downtime is what the present downtime has saved.
func (l Ledger) downtime(now time.Time) Saved {
	if l.DownSince.IsZero() || now.Before(l.DownSince) {
		return Saved{}
	}
	hours := now.Sub(l.DownSince).Hours()
	return Saved{l.CPU * hours, l.Memory / gib * hours}
}

// down is the ledger when pods that reserve this much are taken away. One that is down already goes on.
func (l Ledger) down(now time.Time, r reserved) Ledger {
	l = l.up(now)
	l.DownSince, l.CPU, l.Memory = now.Truncate(time.Second).UTC(), r.cpu, r.memory
	if l.Since.IsZero() {
		l.Since = l.DownSince
	}
	return l
}

// up is the ledger when they come back.
func (l Ledger) up(now time.Time) Ledger {
	s := l.Saved(now)
	return Ledger{Since: l.Since, CPUHours: round(s.CPUHours), MemoryGiBHours: round(s.MemoryGiBHours)}
}

// round keeps the annotation short.
func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// reserved is what pods reserve: cores and bytes.
type reserved struct{ cpu, memory float64 }

// reservedBy is what n pods of a template reserve.
func reservedBy(spec *corev1.PodSpec, n int32) reserved {
	if spec == nil || n <= 0 {
		return reserved{}
	}
	requests := resourcehelper.PodRequests(&corev1.Pod{Spec: *spec}, resourcehelper.PodResourcesOptions{})
	return reserved{requests.Cpu().AsApproximateFloat64() * float64(n), requests.Memory().AsApproximateFloat64() * float64(n)}
}
