package decision

import (
	"testing"
	"time"
)

func TestJobs(t *testing.T) {
	for name, c := range map[string]struct {
		set                     JobSettings
		values                  []float64
		running, pending, young int32
		want                    int32
	}{
		"one job for each message":           {JobSettings{Max: 10}, []float64{3}, 0, 0, 0, 3},
		"less those that run":                {JobSettings{Max: 10}, []float64{3}, 2, 0, 0, 1},
		"never more than max":                {JobSettings{Max: 10}, []float64{30}, 4, 0, 0, 6},
		"nothing to do":                      {JobSettings{Max: 10}, []float64{0}, 0, 0, 0, 0},
		"at least min without work":          {JobSettings{Max: 10, Min: 2}, []float64{0}, 1, 0, 0, 1},
		"min counts beside the work":         {JobSettings{Max: 10, Min: 2}, []float64{3}, 2, 0, 0, 3},
		"accurate leaves out what runs":      {JobSettings{Max: 10, Strategy: AccurateStrategy}, []float64{3}, 4, 1, 0, 2},
		"accurate stays below max":           {JobSettings{Max: 5, Strategy: AccurateStrategy}, []float64{4}, 4, 0, 0, 1},
		"accurate waits for young jobs":      {JobSettings{Max: 10, Strategy: AccurateStrategy}, []float64{3}, 3, 0, 3, 0},
		"eager fills up":                     {JobSettings{Max: 10, Strategy: EagerStrategy}, []float64{3}, 4, 0, 0, 3},
		"eager leaves pending out":           {JobSettings{Max: 5, Strategy: EagerStrategy}, []float64{3}, 2, 2, 0, 1},
		"custom deducts":                     {JobSettings{Max: 50, Strategy: CustomStrategy, Deduction: 1, RunningShare: 0.5}, []float64{10}, 4, 0, 0, 7},
		"custom waits for young jobs":        {JobSettings{Max: 50, Strategy: CustomStrategy, RunningShare: 0.5}, []float64{4}, 4, 0, 4, 0},
		"paused":                             {JobSettings{Max: 10, Paused: true}, []float64{3}, 0, 0, 0, 0},
		"highest of several":                 {JobSettings{Max: 50}, []float64{3, 7}, 0, 0, 0, 7},
		"lowest of several, without idle":    {JobSettings{Max: 50, Combine: CombineMin}, []float64{0, 3, 7}, 0, 0, 0, 3},
		"mean of several, without idle":      {JobSettings{Max: 50, Combine: CombineAvg}, []float64{0, 4, 8}, 0, 0, 0, 6},
		"sum of several":                     {JobSettings{Max: 50, Combine: CombineSum}, []float64{3, 7}, 0, 0, 0, 10},
		"a trigger that cannot be read is 0": {JobSettings{Max: 50}, []float64{-1, 2}, 0, 0, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := JobFacts{Running: c.running, Pending: c.pending, Young: c.young}
			for _, v := range c.values {
				c.set.Metrics = append(c.set.Metrics, Metric{Target: 1})
				r := Reading{Value: v, Active: v > 0, At: epoch}
				if v < 0 {
					r.FailingSince = epoch.Add(-time.Second)
				}
				f.Readings = append(f.Readings, r)
			}
			got := DecideJobs(&c.set, &f)
			if got.Start != c.want {
				t.Errorf("%d Jobs, want %d: %s", got.Start, c.want, got.Reason)
			}
			if got.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestJobsTakeAMessagePerTarget(t *testing.T) {
	set := JobSettings{Max: 10, Metrics: []Metric{{Target: 5}}}
	if got := DecideJobs(&set, &JobFacts{Readings: []Reading{{Value: 11, Active: true, At: epoch}}}); got.Start != 3 {
		t.Errorf("%d Jobs, want 3", got.Start)
	}
}
