package advise

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

const (
	// DefaultReaction is how long the loop takes from a rise to pods that answer.
	DefaultReaction = 10 * time.Second
	// MaxReaction bounds what is remembered of a workload.
	MaxReaction = 10 * time.Minute
	// smooth is over how long the use is a mean.
	smooth = 5 * time.Second
	// most is the highest target.
	most = 0.9
	// maxGap is how long a fact may count where none follows it.
	maxGap = time.Minute
)

// Resource is what was reserved and used on average, and used at most: cores, or bytes.
type Resource struct {
	Reserved float64 `json:"reserved"`
	Used     float64 `json:"used"`
	Peak     float64 `json:"peak"`
}

// Utilization is the part of the reservation that was used; 0 where nothing was reserved.
func (r Resource) Utilization() float64 {
	if r.Reserved <= 0 {
		return 0
	}
	return r.Used / r.Reserved
}

// Rise is the steepest rise within the reaction time: it decides the target.
type Rise struct {
	At   time.Time `json:"at"`
	From float64   `json:"from"`
	To   float64   `json:"to"`
}

// Advice is what is to be said of one workload.
type Advice struct {
	Workload signal.Workload `json:"workload"`
	From     time.Time       `json:"from"`
	To       time.Time       `json:"to"`
	// Seconds is how much time is known.
	Seconds float64  `json:"seconds"`
	CPU     Resource `json:"cpu"`
	Memory  Resource `json:"memory"`
	// Target is the CPU utilisation, 0 to 0.9, that would have met every rise; 0 where nothing can be said.
	Target float64 `json:"target"`
	// Fewest is how many pods it takes for rises from rest, which no target meets.
	Fewest int `json:"fewest"`
	// Enough is how many cores it would have reserved on average with that target and at least that many pods.
	Enough float64 `json:"enough"`
	// Rise decided the target; nil where none went beyond one pod.
	Rise *Rise `json:"rise"`
}

// Spare is how many cores less it would have reserved; negative where it should reserve more.
func (a *Advice) Spare() float64 { return a.CPU.Reserved - a.Enough }

// Advisor takes in facts and gives advice. It remembers, of each workload, no more than the reaction time.
type Advisor struct {
	reaction  time.Duration
	workloads map[signal.Workload]*history
}

// New makes an Advisor for a loop that reacts within a time; 0 stands for DefaultReaction.
func New(reaction time.Duration) *Advisor {
	if reaction <= 0 {
		reaction = DefaultReaction
	}
	return &Advisor{reaction: min(reaction, MaxReaction), workloads: map[signal.Workload]*history{}}
}

// history is what is known of a workload.
type history struct {
	seconds  float64
	from, to time.Time
	cpu      sums
	memory   sums
	recent   []point // the last smooth of the raw use
	pending  []rise  // those whose reaction time is not over
	// rested is when the use was last below one pod at the highest target.
	rested   time.Time
	steepest Rise
	target   float64
	fewest   int
	levels   []level
	last     signal.Facts
}

type sums struct{ reserved, used, peak float64 }

type point struct {
	at    time.Time
	value float64
}

type rise struct {
	point
	peak, pod float64
	// rest says that the use was at rest within the reaction time before.
	rest bool
}

// level is the smoothed use, in steps of a hundredth, for so many seconds: what it would have reserved at a target that
// is known at the end only.
type level struct{ use, pod, seconds float64 }

// mostLevels bounds levels; neighbours become one beyond.
const mostLevels = 512

// Add takes in the facts of a workload at one moment, in the order of time.
func (a *Advisor) Add(w signal.Workload, f *signal.Facts) {
	if f.UsageAt.IsZero() || f.Pods == 0 {
		return
	}
	h := a.workloads[w]
	if h == nil {
		h = &history{from: f.At, target: most}
		a.workloads[w] = h
	} else if !f.At.After(h.to) {
		return
	}
	h.count(f)
	h.rises(f, a.reaction)
	h.to = f.At
	h.last = *f
	h.last.Lags = nil
}

// count adds up the time since the last facts.
func (h *history) count(f *signal.Facts) {
	h.cpu.peak, h.memory.peak = max(h.cpu.peak, f.CPU), max(h.memory.peak, f.Memory)
	if h.to.IsZero() {
		return
	}
	gap := min(f.At.Sub(h.to), maxGap).Seconds()
	h.seconds += gap
	h.cpu.add(h.last.CPUReserved, h.last.CPU, gap)
	h.memory.add(h.last.MemoryReserved, h.last.Memory, gap)
	h.level(h.use(), h.last.CPUReserved/float64(h.last.Pods), gap)
}

func (s *sums) add(reserved, used, seconds float64) {
	s.reserved += reserved * seconds
	s.used += used * seconds
}

// use is the mean of the last seconds.
func (h *history) use() float64 {
	if len(h.recent) == 0 {
		return 0
	}
	var sum float64
	for _, p := range h.recent {
		sum += p.value
	}
	return sum / float64(len(h.recent))
}

// rises takes the use of now as the peak of those before, and as the begin of a rise.
func (h *history) rises(f *signal.Facts, reaction time.Duration) {
	for len(h.recent) > 0 && f.At.Sub(h.recent[0].at) >= smooth {
		h.recent = h.recent[:copy(h.recent, h.recent[1:])]
	}
	h.recent = append(h.recent, point{f.At, f.CPU})
	use := h.use()
	over := 0
	for i := range h.pending {
		p := &h.pending[i]
		if f.At.Sub(p.at) > reaction {
			h.judge(*p)
			over++
			continue
		}
		p.peak = max(p.peak, use)
	}
	pod := f.CPUReserved / float64(f.Pods)
	if use < most*pod {
		h.rested = f.At
	}
	rest := !h.rested.IsZero() && f.At.Sub(h.rested) <= reaction
	h.pending = append(h.pending[:copy(h.pending, h.pending[over:])], rise{point{f.At, use}, use, pod, rest})
}

// judge takes a rise in whose time is over.
func (h *history) judge(r rise) {
	if r.peak <= r.pod || r.pod <= 0 {
		return
	}
	if r.rest {
		h.fewest = max(h.fewest, int(math.Ceil(r.peak/r.pod-1e-9)))
		return
	}
	if target := r.value / r.peak; target < h.target {
		h.target = target
		h.steepest = Rise{At: r.at, From: r.value, To: r.peak}
	}
}

// level keeps how long the use was at which height.
func (h *history) level(use, pod, seconds float64) {
	if n := len(h.levels); n > 0 && h.levels[n-1].pod == pod && similar(h.levels[n-1].use, use) {
		l := &h.levels[n-1]
		l.use = (l.use*l.seconds + use*seconds) / (l.seconds + seconds)
		l.seconds += seconds
		return
	}
	if len(h.levels) == mostLevels {
		h.levels = merge(h.levels)
	}
	h.levels = append(h.levels, level{use, pod, seconds})
}

func similar(a, b float64) bool { return a-b < 0.01*max(a, b) && b-a < 0.01*max(a, b) }

// merge makes one of each two neighbours in order of use.
func merge(levels []level) []level {
	slices.SortFunc(levels, func(a, b level) int { return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.use, b.use)) })
	out := levels[:0]
	for i := 0; i+1 < len(levels); i += 2 {
		a, b := levels[i], levels[i+1]
		seconds := a.seconds + b.seconds
		out = append(out, level{(a.use*a.seconds + b.use*b.seconds) / seconds, (a.pod*a.seconds + b.pod*b.seconds) / seconds, seconds})
	}
	return out
}

// Advice is what is to be said now, the most to spare first.
func (a *Advisor) Advice() []Advice {
	out := []Advice{}
	for w, h := range a.workloads {
		if h.seconds > 0 {
			out = append(out, h.advice(w))
		}
	}
	slices.SortFunc(out, func(a, b Advice) int {
		return cmp.Or(cmp.Compare(b.Spare(), a.Spare()), cmp.Compare(a.Workload.String(), b.Workload.String()))
	})
	return out
}

func (h *history) advice(w signal.Workload) Advice {
	end := *h
	for _, p := range h.pending {
		end.judge(p)
	}
	a := Advice{
		Workload: w, From: h.from, To: h.to, Seconds: h.seconds, CPU: h.cpu.mean(h.seconds), Memory: h.memory.mean(h.seconds),
	}
	if a.CPU.Reserved <= 0 {
		return a
	}
	a.Target, a.Fewest = end.target, max(end.fewest, 1)
	if !end.steepest.At.IsZero() {
		a.Rise = &end.steepest
	}
	for _, l := range h.levels {
		a.Enough += max(l.use/a.Target, l.pod*float64(a.Fewest)) * l.seconds / h.seconds
	}
	return a
}

func (s sums) mean(seconds float64) Resource {
	return Resource{Reserved: s.reserved / seconds, Used: s.used / seconds, Peak: s.peak}
}

// Total adds up what several workloads reserve and use. Peaks are not added: they were at different times.
func Total(all []Advice) (cpu, memory Resource, enough float64) {
	for _, a := range all {
		cpu.Reserved += a.CPU.Reserved
		cpu.Used += a.CPU.Used
		memory.Reserved += a.Memory.Reserved
		memory.Used += a.Memory.Used
		enough += a.Enough
	}
	return cpu, memory, enough
}
