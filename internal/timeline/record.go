package timeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Record is one act of the platform.
type Record struct {
	// Time of the act, in UTC. Add fills it in when it is zero.
	Time time.Time `json:"time"`
	// Actor is the part of the platform that acted, such as "release" or "supervisor", or "portal" for a person there.
	Actor string `json:"actor"`
	// Action in the past tense: "scaled", "rolled out", "restarted".
	Action string `json:"action"`
	// Object acted on.
	Object Object `json:"object"`
	// From and To are the state before and after, such as "2 pods" and "5 pods".
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Reason is one sentence with the numbers that were seen. It never holds a secret; see the package comment.
	Reason string `json:"reason,omitempty"`
	// Stages of the act, in order.
	Stages []Stage `json:"stages,omitempty"`
}

// Object names a Kubernetes object. Namespace is empty for a cluster's own, such as a Node.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is "Kind namespace/name", without the namespace where there is none.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Stage is one step of an act and how long it took.
type Stage struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"durationNanoseconds"`
}

// Total is the sum of the stages.
func (r Record) Total() time.Duration {
	var sum time.Duration
	for _, s := range r.Stages {
		sum += s.Duration
	}
	return sum
}

// Filter chooses records. The zero Filter chooses all.
type Filter struct {
	// Namespace, Kind and Name of the object, each exactly; empty means any.
	Namespace, Kind, Name string
	// Since is the earliest time.
	Since time.Time
	// Limit is how many records List returns at most, the newest ones; 0 means all that are in memory.
	Limit int
}

// Match says whether r is chosen. It does not look at Limit.
func (f Filter) Match(r Record) bool {
	return (f.Namespace == "" || f.Namespace == r.Object.Namespace) &&
		(f.Kind == "" || f.Kind == r.Object.Kind) &&
		(f.Name == "" || f.Name == r.Object.Name) &&
		!r.Time.Before(f.Since)
}

// maxText is the most bytes one text of a record keeps, so that a line is bounded.
const maxText = 4 << 10

// normal is r as a file gives it back: in UTC, with valid and bounded texts.
func (r Record) normal() Record {
	r.Time = r.Time.Round(0).UTC()
	for _, s := range []*string{
		&r.Actor, &r.Action, &r.Object.Kind, &r.Object.Namespace, &r.Object.Name, &r.From, &r.To, &r.Reason,
	} {
		*s = cut(*s)
	}
	if len(r.Stages) > maxStages {
		r.Stages = r.Stages[:maxStages]
	}
	stages := make([]Stage, len(r.Stages))
	for i, s := range r.Stages {
		stages[i] = Stage{Name: cut(s.Name), Duration: s.Duration}
	}
	r.Stages = stages
	if len(stages) == 0 {
		r.Stages = nil
	}
	return r
}

// maxStages is the most stages one record keeps.
const maxStages = 64

func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// encode is the record's line, with its end.
func (r Record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding record of %q: %w", r.Object, err)
	}
	return append(b, '\n'), nil
}

var errNoTime = errors.New("record without a time")

// parse reads one line, without its end. Fields it does not know are left out, so that an older program can read what
// a newer one wrote.
func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(bytes.TrimSpace(line), &r); err != nil {
		return Record{}, fmt.Errorf("reading record: %w", err)
	}
	if r.Time.IsZero() {
		return Record{}, errNoTime
	}
	return r.normal(), nil
}
