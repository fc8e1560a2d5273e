package replay

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

// Recording is recorded facts.
type Recording struct {
	path string
	// whole says that the platform recorded it: parts of it can be read at the same time.
	whole bool
}

// Open looks at what a path holds: the folder a platform records into, a recording, CSV, or a line of JSON for each
// moment. It shows in the first bytes.
func Open(path string) (Recording, error) {
	r := Recording{path: path}
	info, err := os.Stat(path)
	if err != nil {
		return r, fmt.Errorf("opening the recording: %w", err)
	}
	if r.whole = info.IsDir(); r.whole {
		return r, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("opening the recording: %w", err)
	}
	defer f.Close()
	head := make([]byte, len("ESCSIG"))
	n, err := io.ReadFull(f, head)
	if n == 0 {
		return r, errors.Join(fmt.Errorf("the recording %q is empty", path), notEnd(err))
	}
	r.whole = string(head) == "ESCSIG"
	return r, nil
}

func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Each reads the recording from its beginning; only says which workloads, nil is all.
func (r Recording) Each(only func(signal.Workload) bool) Each {
	return func(f func(signal.Workload, *signal.Facts) error) error {
		if r.whole {
			return signal.ReadRecording(r.path, time.Time{}, only, f)
		}
		file, err := os.Open(r.path)
		if err != nil {
			return fmt.Errorf("opening the recording: %w", err)
		}
		defer file.Close()
		err = Text(file)(func(w signal.Workload, facts *signal.Facts) error {
			if only != nil && !only(w) {
				return nil
			}
			return f(w, facts)
		})
		if err != nil {
			return fmt.Errorf("reading %q: %w", r.path, err)
		}
		return nil
	}
}

// Check says whether a table by hand is one, as far as its first fact shows.
func (r Recording) Check() error {
	if r.whole {
		return nil
	}
	enough := errors.New("enough is read")
	err := r.Each(nil)(func(signal.Workload, *signal.Facts) error { return enough })
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// Text reads CSV or JSON lines.
func Text(in io.Reader) Each {
	buffered := bufio.NewReaderSize(in, 1<<16)
	if head, err := buffered.Peek(1); err == nil && head[0] == '{' {
		return jsonLines(buffered)
	}
	return table(buffered)
}

// handWritten is the workload of a table that names none.
var handWritten = signal.Workload{Kind: "Workload", Namespace: "-", Name: "recorded"}

// maxLine is the longest line that is read.
const maxLine = 64 << 10

// setters are the columns of tables. Their names are those of the fields in JSON.
var setters = map[string]func(*signal.Facts, float64){
	"in-flight":       func(f *signal.Facts, v float64) { f.InFlight = v },
	"held":            func(f *signal.Facts, v float64) { f.Held = v },
	"rate":            func(f *signal.Facts, v float64) { f.Rate = v },
	"errors":          func(f *signal.Facts, v float64) { f.ErrorRate = v },
	"cpu":             func(f *signal.Facts, v float64) { f.CPU = v },
	"memory":          func(f *signal.Facts, v float64) { f.Memory = v },
	"cpu-reserved":    func(f *signal.Facts, v float64) { f.CPUReserved = v },
	"memory-reserved": func(f *signal.Facts, v float64) { f.MemoryReserved = v },
	"pods":            func(f *signal.Facts, v float64) { f.Pods = pods(v) },
	"ready":           func(f *signal.Facts, v float64) { f.Ready = pods(v) },
	"lag":             func(f *signal.Facts, v float64) { f.Lags = append(f.Lags, signal.Lag{Value: v, At: f.At}) },
}

func pods(v float64) int32 { return int32(min(v, mostPods)) }

// columnNames are the names of all columns, for messages.
func columnNames() string {
	names := []string{"time", "workload"}
	for name := range setters {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// setter is the column of a name; lag:NAME is that of a trigger.
func setter(name string) (func(*signal.Facts, float64), error) {
	if trigger, ok := strings.CutPrefix(name, "lag:"); ok {
		return func(f *signal.Facts, v float64) {
			f.Lags = append(f.Lags, signal.Lag{Trigger: trigger, Value: v, At: f.At})
		}, nil
	}
	if set, ok := setters[name]; ok {
		return set, nil
	}
	return nil, fmt.Errorf("there is no column %q; there are %s and lag:TRIGGER", name, columnNames())
}

// table reads CSV: a line with the names of columns, then a line for each moment. The column time is RFC 3339 or seconds
// from the beginning; without it lines are a second apart. The column workload is "Deployment shop/storefront".
func table(in io.Reader) Each {
	return func(f func(signal.Workload, *signal.Facts) error) error {
		r := csv.NewReader(in)
		r.ReuseRecord, r.TrimLeadingSpace = true, true
		r.Comment = '#'
		head, err := r.Read()
		if err != nil {
			return fmt.Errorf("reading the names of the columns: %w", err)
		}
		t, err := newTable(head)
		if err != nil {
			return err
		}
		for {
			record, err := r.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading the table: %w", err)
			}
			line, _ := r.FieldPos(0)
			w, err := t.read(record)
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			if err := f(w, &t.facts); err != nil {
				return err
			}
		}
	}
}

// rows turns the lines of a table into facts.
type rows struct {
	names          []string
	set            []func(*signal.Facts, float64)
	time, workload int
	facts          signal.Facts
	seconds        float64
	workloads      map[string]signal.Workload
}

func newTable(head []string) (*rows, error) {
	t := &rows{time: -1, workload: -1, seconds: -1, workloads: map[string]signal.Workload{}}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		t.names = append(t.names, name)
		t.set = append(t.set, nil)
		switch name {
		case "time":
			t.time = i
		case "workload":
			t.workload = i
		default:
			set, err := setter(name)
			if err != nil {
				return nil, err
			}
			t.set[i] = set
		}
	}
	if len(t.names)-index(t.time)-index(t.workload) == 0 {
		return nil, fmt.Errorf("the table has no values; its first line names columns of %s", columnNames())
	}
	return t, nil
}

// index is 1 for a column that is there.
func index(at int) int {
	if at < 0 {
		return 0
	}
	return 1
}

func (t *rows) read(record []string) (signal.Workload, error) {
	t.facts = signal.Facts{Pods: -1, Lags: t.facts.Lags[:0]} // not said
	t.seconds++
	t.facts.At = beginning.Add(time.Duration(t.seconds * float64(time.Second)))
	w := handWritten
	if t.time >= 0 {
		at, err := parseTime(record[t.time])
		if err != nil {
			return w, err
		}
		t.facts.At = at
	}
	if t.workload >= 0 {
		var err error
		if w, err = t.named(record[t.workload]); err != nil {
			return w, err
		}
	}
	for i, set := range t.set {
		if set == nil || record[i] == "" {
			continue
		}
		v, err := strconv.ParseFloat(record[i], 64)
		if err != nil || v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return w, fmt.Errorf("column %q: %q is no number, 0 or above", t.names[i], cut(record[i]))
		}
		set(&t.facts, v)
	}
	t.facts.TrafficAt, t.facts.UsageAt = t.facts.At, t.facts.At
	return w, nil
}

// mostWorkloads bounds a table.
const mostWorkloads = 100_000

// named is the workload of a name, and remembers it.
func (t *rows) named(name string) (signal.Workload, error) {
	if w, ok := t.workloads[name]; ok {
		return w, nil
	}
	w, err := ParseWorkload(name)
	if err != nil {
		return w, err
	}
	if len(t.workloads) == mostWorkloads {
		return w, fmt.Errorf("the table has more than %d workloads", mostWorkloads)
	}
	t.workloads[strings.Clone(name)] = w
	return w, nil
}

// ParseWorkload reads "Deployment shop/storefront".
func ParseWorkload(s string) (signal.Workload, error) {
	kind, rest, ok := strings.Cut(s, " ")
	namespace, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || kind == "" || namespace == "" || name == "" || len(s) > 512 {
		return signal.Workload{}, fmt.Errorf("workload %q: want KIND NAMESPACE/NAME, such as \"Deployment shop/storefront\"", cut(s))
	}
	return signal.Workload{Kind: strings.Clone(kind), Namespace: strings.Clone(namespace), Name: strings.Clone(name)}, nil
}

// beginning is the time of tables that have none.
var beginning = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func parseTime(s string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		if seconds < 0 || !(seconds < 1e10) {
			return time.Time{}, fmt.Errorf("column \"time\": %q are no seconds from the beginning", cut(s))
		}
		return beginning.Add(time.Duration(seconds*1000) * time.Millisecond), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil || at.Year() < 1970 || at.Year() > 2200 {
		return time.Time{}, fmt.Errorf("column \"time\": %q is neither RFC 3339, such as 2026-03-01T12:00:00Z, nor seconds", cut(s))
	}
	return at, nil
}

func cut(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// jsonLines reads a JSON object a line, with the columns of a table as its fields.
func jsonLines(in io.Reader) Each {
	return func(f func(signal.Workload, *signal.Facts) error) error {
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 4096), maxLine)
		t := &rows{seconds: -1, workloads: map[string]signal.Workload{}}
		for line := 1; s.Scan(); line++ {
			if len(bytes.TrimSpace(s.Bytes())) == 0 {
				continue
			}
			w, err := t.readJSON(s.Bytes())
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			if err := f(w, &t.facts); err != nil {
				return err
			}
		}
		if err := s.Err(); err != nil {
			return fmt.Errorf("reading the lines: %w", err)
		}
		return nil
	}
}

func (t *rows) readJSON(b []byte) (signal.Workload, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &fields); err != nil {
		return handWritten, fmt.Errorf("want a JSON object: %w", err)
	}
	t.names, t.set, t.time, t.workload = t.names[:0], t.set[:0], -1, -1
	record := make([]string, 0, len(fields))
	for name, raw := range fields {
		t.names = append(t.names, name)
		record = append(record, strings.Trim(string(raw), `"`))
		switch name {
		case "time":
			t.time, t.set = len(record)-1, append(t.set, nil)
		case "workload":
			t.workload, t.set = len(record)-1, append(t.set, nil)
		default:
			set, err := setter(name)
			if err != nil {
				return handWritten, err
			}
			t.set = append(t.set, set)
		}
	}
	return t.read(record)
}
