package replay

import "time"

// Outcome is what a replay of one workload with one set of settings came to. Integrals are over seconds.
type Outcome struct {
	Settings string    `json:"settings"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	// Seconds is how much time was counted.
	Seconds float64 `json:"seconds"`
	// Demand and Unserved are in units of the metric times seconds; PeakDemand is the highest.
	Demand     float64 `json:"demand"`
	PeakDemand float64 `json:"peakDemand"`
	Unserved   float64 `json:"unserved"`
	// UnservedSeconds is how long there was unserved demand.
	UnservedSeconds float64 `json:"unservedSeconds"`
	// PodSeconds were asked for, NeededSeconds the demand needed of them.
	PodSeconds    float64 `json:"podSeconds"`
	NeededSeconds float64 `json:"neededSeconds"`
	// Peak is the highest number of pods that was asked for.
	Peak     int32 `json:"peak"`
	ScaleUps int   `json:"scaleUps"`
	ScaleIns int   `json:"scaleIns"`
	// Series is the course of the time that was counted.
	Series Series `json:"series"`
}

// state is what there was for a while.
type state struct{ demand, served, pods, need float64 }

// add counts a while.
func (o *Outcome) add(seconds float64, s *state) {
	unserved := s.demand - s.served
	if unserved > 0 {
		o.UnservedSeconds += seconds
	} else {
		unserved = 0
	}
	if s.demand > o.PeakDemand {
		o.PeakDemand = s.demand
	}
	o.NeededSeconds += min(s.need, s.pods) * seconds
	o.Series.add(seconds, s.demand, unserved, s.pods)
}

// close completes the sums, which the series holds until then.
func (o *Outcome) close() {
	sums := o.Series.sums
	o.Seconds, o.Demand, o.Unserved, o.PodSeconds = sums.seconds, sums.demand, sums.unserved, sums.pods
	o.Series.close()
}

// UnservedShare is the part of the demand that was not served, 0 to 1.
func (o *Outcome) UnservedShare() float64 {
	if o.Demand <= 0 {
		return 0
	}
	return o.Unserved / o.Demand
}

// Waste is the part of the pods that the demand did not need, 0 to 1.
func (o *Outcome) Waste() float64 {
	if o.PodSeconds <= 0 {
		return 0
	}
	return 1 - o.NeededSeconds/o.PodSeconds
}

// plus adds another workload's outcome with the same settings. The series stay apart.
func (o *Outcome) plus(other *Outcome) {
	if o.From.IsZero() || other.From.Before(o.From) {
		o.From = other.From
	}
	if other.To.After(o.To) {
		o.To = other.To
	}
	o.Settings = other.Settings
	o.Seconds += other.Seconds
	o.Demand += other.Demand
	o.PeakDemand = max(o.PeakDemand, other.PeakDemand)
	o.Unserved += other.Unserved
	o.UnservedSeconds += other.UnservedSeconds
	o.PodSeconds += other.PodSeconds
	o.NeededSeconds += other.NeededSeconds
	o.Peak = max(o.Peak, other.Peak)
	o.ScaleUps += other.ScaleUps
	o.ScaleIns += other.ScaleIns
}

// mostBuckets bounds a series; beyond it two buckets become one.
const mostBuckets = 240

// Series is a course over time in buckets of equal width, each with the means of its time.
type Series struct {
	// Width of a bucket in seconds.
	Width    float64   `json:"width"`
	Demand   []float64 `json:"demand"`
	Unserved []float64 `json:"unserved"`
	Pods     []float64 `json:"pods"`

	// open are the integrals of the bucket that is not over, sums those of all.
	open, sums integrals
}

// integrals are over seconds.
type integrals struct{ seconds, demand, unserved, pods float64 }

func (i *integrals) add(seconds, demand, unserved, pods float64) {
	i.seconds += seconds
	i.demand += demand * seconds
	i.unserved += unserved * seconds
	i.pods += pods * seconds
}

// add counts a while, which may span buckets.
func (s *Series) add(seconds, demand, unserved, pods float64) {
	if s.Width == 0 {
		s.Width = 1
	}
	s.sums.add(seconds, demand, unserved, pods)
	for s.open.seconds+seconds >= s.Width-1e-9 {
		while := s.Width - s.open.seconds
		s.open.add(while, demand, unserved, pods)
		seconds -= while
		s.end()
	}
	if seconds > 1e-9 {
		s.open.add(seconds, demand, unserved, pods)
	}
}

// end makes a bucket of what is open.
func (s *Series) end() {
	if len(s.Demand) == mostBuckets {
		s.Demand, s.Unserved, s.Pods = halve(s.Demand), halve(s.Unserved), halve(s.Pods)
		s.Width *= 2
		if s.open.seconds < s.Width-1e-9 {
			return // it is half of one now
		}
	}
	seconds := s.open.seconds
	s.Demand = append(s.Demand, s.open.demand/seconds)
	s.Unserved = append(s.Unserved, s.open.unserved/seconds)
	s.Pods = append(s.Pods, s.open.pods/seconds)
	s.open = integrals{}
}

// close makes a bucket of what is left.
func (s *Series) close() {
	if s.open.seconds > 1e-9 && len(s.Demand) < mostBuckets {
		s.end()
	}
}

func halve(v []float64) []float64 {
	for i := range len(v) / 2 {
		v[i] = (v[2*i] + v[2*i+1]) / 2
	}
	return v[:len(v)/2]
}
