package replay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/signal"
)

// Column is a recorded value that a metric reads.
type Column string

// The columns. Lag with a name, as in "lag:s0-rabbitmq", is that of one trigger; without it is the sum of all.
const (
	InFlight Column = "in-flight"
	Rate     Column = "rate"
	CPU      Column = "cpu"
	Memory   Column = "memory"
	Lag      Column = "lag"
)

// units are the columns with their units in words.
var units = map[Column]string{
	InFlight: "requests in flight", Rate: "requests per second", CPU: "cores", Memory: "bytes", Lag: "waiting",
}

// Unit of the column in words.
func (c Column) Unit() string {
	name, _, _ := strings.Cut(string(c), ":")
	return units[Column(name)]
}

func (c Column) known() bool {
	return c.Unit() != "" && (!strings.Contains(string(c), ":") || strings.HasPrefix(string(c), "lag:"))
}

// reader reads the demand that a fact holds.
func (c Column) reader() func(*signal.Facts) float64 {
	switch c {
	case InFlight:
		return func(f *signal.Facts) float64 { return f.InFlight }
	case Rate:
		return func(f *signal.Facts) float64 { return f.Rate }
	case CPU:
		return func(f *signal.Facts) float64 { return f.CPU }
	case Memory:
		return func(f *signal.Facts) float64 { return f.Memory }
	}
	return func(f *signal.Facts) float64 { return lag(f, string(c)) }
}

// reservedBy is the column with what the pods reserve of what a column measures.
func reservedBy(c Column) Column {
	if c == Memory {
		return memoryReservedColumn
	}
	return cpuReservedColumn
}

func lag(f *signal.Facts, column string) (sum float64) {
	name, one := strings.CutPrefix(column, "lag:")
	for i := range f.Lags {
		if !one || f.Lags[i].Trigger == name {
			sum += f.Lags[i].Value
		}
	}
	return sum
}

// Metric is what one metric of the decision reads.
type Metric struct {
	Column Column
	// Activation is the value above which there is work.
	Activation float64
}

// Settings are what a replay runs with. The zero Settings is not valid; see Default.
type Settings struct {
	// Name is how they are called in reports, such as "present" or "target=20".
	Name     string
	Decision decision.Settings
	// Metrics are what those of the decision read, in the same order. The first is the demand that pods serve.
	Metrics []Metric
	// StartDelay is how long after it was asked for a pod is ready.
	StartDelay time.Duration
	// Capacity is how much of the first metric a ready pod serves; 0: its target.
	Capacity float64
}

// ViewName is the name under which a running platform shows the Present settings of all its workloads.
const ViewName = "settings"

// Present is what a workload is scaled by now.
type Present struct {
	Workload signal.Workload `json:"workload"`
	Settings Settings        `json:"settings"`
	// Left names what a replay leaves out, such as a formula.
	Left []string `json:"left,omitempty"`
}

// DefaultStartDelay is how long a pod takes from the decision to ready, unless it is said.
const DefaultStartDelay = 3 * time.Second

// Default are the settings of a workload that is scaled by one column, with target for each pod; for CPU and memory the
// target is a percentage of what pods reserve.
func Default(column Column, target float64) Settings {
	set := decision.Settings{
		Min: 1, Max: decision.DefaultMax, Cooldown: decision.DefaultCooldown, MaxHold: decision.DefaultMaxHold,
		Up:      decision.Rules{Tolerance: decision.DefaultTolerance},
		Down:    decision.Rules{Tolerance: decision.DefaultTolerance, Stabilization: decision.DefaultStabilization},
		Metrics: []decision.Metric{{Name: string(column), Unit: column.Unit(), Target: target}},
	}
	m := &set.Metrics[0]
	switch column {
	case InFlight, Rate:
		m.Short, m.Long = 2*time.Second, time.Minute
	case CPU:
		m.Short, m.Long = 5*time.Second, 30*time.Second
		m.Kind, m.Resource = decision.Utilization, true
	case Memory:
		m.Kind, m.Resource = decision.Utilization, true
	}
	return Settings{Name: "present", Decision: set, Metrics: []Metric{{Column: column}}, StartDelay: DefaultStartDelay}
}

// capacity is what a ready pod serves.
func (s *Settings) capacity() float64 {
	if s.Capacity > 0 || len(s.Decision.Metrics) == 0 {
		return s.Capacity
	}
	return s.Decision.Metrics[0].Target
}

// utilization says that the first metric is a percentage of what pods reserve.
func (s *Settings) utilization() bool {
	return len(s.Decision.Metrics) > 0 && s.Decision.Metrics[0].Kind == decision.Utilization
}

// Keys are the names that With knows.
var Keys = []string{
	"capacity", "cooldown", "idle", "long", "max", "metric", "min", "short", "stabilization", "start", "target", "tolerance",
	"up-stabilization",
}

// With returns the settings with changes such as "target=20,max=50", which is also their name. What a pod can serve does
// not change with the target.
func (s Settings) With(changes string) (Settings, error) {
	out := s
	out.Name = changes
	out.Decision.Metrics = slices.Clone(s.Decision.Metrics)
	out.Metrics = slices.Clone(s.Metrics)
	out.Capacity = s.capacity()
	if out.Capacity == 0 || s.utilization() && s.Capacity == 0 {
		out.Capacity = s.Capacity
	}
	for item := range strings.SplitSeq(changes, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			return s, fmt.Errorf("%q: want KEY=VALUE, several with commas between", item)
		}
		if err := out.set(key, strings.TrimSpace(value)); err != nil {
			return s, fmt.Errorf("%q: %w", item, err)
		}
	}
	return out, out.Check()
}

func (s *Settings) set(key, value string) error {
	d := &s.Decision
	switch key {
	case "min":
		return count(&d.Min, value)
	case "max":
		return count(&d.Max, value)
	case "idle":
		d.Idle = new(int32)
		return count(d.Idle, value)
	case "cooldown":
		return duration(&d.Cooldown, value)
	case "stabilization":
		return duration(&d.Down.Stabilization, value)
	case "up-stabilization":
		return duration(&d.Up.Stabilization, value)
	case "start":
		return duration(&s.StartDelay, value)
	case "capacity":
		return number(&s.Capacity, value)
	case "tolerance":
		if err := number(&d.Up.Tolerance, value); err != nil {
			return err
		}
		d.Down.Tolerance = d.Up.Tolerance
		return nil
	}
	return s.setMetric(key, value)
}

// setMetric changes the first metric.
func (s *Settings) setMetric(key, value string) error {
	if len(s.Decision.Metrics) == 0 {
		return errors.New("there is no metric to change")
	}
	m := &s.Decision.Metrics[0]
	switch key {
	case "target":
		return number(&m.Target, value)
	case "short":
		return duration(&m.Short, value)
	case "long":
		return duration(&m.Long, value)
	case "metric":
		if !Column(value).known() {
			return errors.New("want in-flight, rate, cpu, memory, lag or lag:TRIGGER")
		}
		from := Default(Column(value), m.Target)
		s.Metrics[0], *m = from.Metrics[0], from.Decision.Metrics[0]
		return nil
	}
	return fmt.Errorf("there is no setting %q; there are %s", key, strings.Join(Keys, ", "))
}

// Check says what is missing or does not go together.
func (s *Settings) Check() error {
	d := s.Decision
	switch {
	case d.Min > d.Max:
		return fmt.Errorf("%q: min %d is above max %d", s.Name, d.Min, d.Max)
	case len(d.Metrics) == 0 || d.Metrics[0].Target <= 0:
		return fmt.Errorf("%q: the target is missing: what one pod takes", s.Name)
	}
	for _, m := range d.Metrics {
		if max(m.Short, m.Long) >= decision.MaxSamples*time.Second {
			return fmt.Errorf("%q: a window is at most %s", s.Name, decision.MaxSamples*time.Second)
		}
	}
	return nil
}

// mostPods keeps sums in range.
const mostPods = 1_000_000

func count(to *int32, value string) error {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 || n > mostPods {
		return fmt.Errorf("want a number of pods from 0 to %d", mostPods)
	}
	*to = int32(n)
	return nil
}

func number(to *float64, value string) error {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || f < 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return errors.New("want a number, 0 or above")
	}
	*to = f
	return nil
}

func duration(to *time.Duration, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > 24*time.Hour {
		return errors.New("want a duration from 0s to 24h, such as 90s or 5m")
	}
	*to = d
	return nil
}
