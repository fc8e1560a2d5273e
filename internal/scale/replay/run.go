package replay

import (
	"cmp"
	"errors"
	"hash/fnv"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/escale-dev/escale/internal/signal"
)

// Each calls f with recorded facts: those of one workload in the order of time. The facts are valid during the call only.
type Each func(f func(signal.Workload, *signal.Facts) error) error

// Choose returns the settings that a workload is replayed with, the present ones first; none leaves it out.
type Choose func(signal.Workload) []Settings

// Result is what the replay of one workload came to.
type Result struct {
	Workload signal.Workload `json:"workload"`
	// Facts is how many were read.
	Facts int `json:"facts"`
	// Outcomes are those of each of its settings, in order.
	Outcomes []Outcome `json:"outcomes"`
}

// replayed is a workload under replay.
type replayed struct {
	facts int
	sims  []*simulation
}

// Run replays a recording in one pass and returns a result for each workload that settings were chosen for, in order.
// choose is called once for each workload, from several goroutines.
func Run(r Recording, choose Choose) ([]Result, error) {
	if !r.whole {
		return runTable(r.Each(nil), choose)
	}
	parts := runtime.GOMAXPROCS(0)
	results := make([][]Result, parts)
	errs := make([]error, parts)
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() {
			results[part], errs[part] = runPart(r.path, func(w signal.Workload) bool { return partOf(w, parts) == part }, choose)
		})
	}
	wg.Wait()
	all := slices.Concat(results...)
	sortResults(all)
	return all, errors.Join(errs...)
}

// partOf divides workloads evenly.
func partOf(w signal.Workload, parts int) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, w.String())
	return int(h.Sum32() % uint32(parts))
}

// runPart replays some workloads of a recording of the platform.
func runPart(path string, only func(signal.Workload) bool, choose Choose) ([]Result, error) {
	all := replays{choose: choose, of: map[signal.Workload]*replayed{}}
	var m recorded
	err := signal.ReadRows(path, only, func(rows *signal.Rows) error {
		m.take(rows)
		all.take(rows.Workload, &m)
		return nil
	})
	return all.results(), err
}

func runTable(each Each, choose Choose) ([]Result, error) {
	all := replays{choose: choose, of: map[signal.Workload]*replayed{}}
	var m told
	err := each(func(w signal.Workload, f *signal.Facts) error {
		m.take(f)
		all.take(w, &m)
		return nil
	})
	return all.results(), err
}

// replays are those of several workloads.
type replays struct {
	choose Choose
	of     map[signal.Workload]*replayed
}

// take takes in the facts of the next moments of a workload.
func (r *replays) take(w signal.Workload, m moments) {
	now := r.of[w]
	if now == nil {
		now = begin(r.choose(w))
		r.of[w] = now
	}
	now.facts += len(m.times())
	for _, sim := range now.sims {
		sim.take(m)
	}
}

func begin(settings []Settings) *replayed {
	r := &replayed{}
	for i := range settings {
		r.sims = append(r.sims, newSimulation(&settings[i]))
	}
	return r
}

func (r *replays) results() []Result {
	out := []Result{}
	for w, now := range r.of {
		if len(now.sims) == 0 {
			continue
		}
		result := Result{Workload: w, Facts: now.facts}
		for _, sim := range now.sims {
			sim.close()
			result.Outcomes = append(result.Outcomes, sim.out)
		}
		out = append(out, result)
	}
	sortResults(out)
	return out
}

func sortResults(results []Result) {
	slices.SortFunc(results, func(a, b Result) int { return cmp.Compare(a.Workload.String(), b.Workload.String()) })
}

// Total adds up the outcomes of several workloads that were replayed with equally many settings.
func Total(results []Result) []Outcome {
	var out []Outcome
	for _, r := range results {
		for i := range r.Outcomes {
			if i == len(out) {
				out = append(out, Outcome{})
			}
			out[i].plus(&r.Outcomes[i])
		}
	}
	return out
}
