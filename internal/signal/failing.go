package signal

import (
	"fmt"
	"time"
)

const (
	// failingFor is the time before the newest facts in which requests are counted.
	failingFor = time.Minute
	// failingRequests is how many it takes to judge, failingShare the share of errors that is failing.
	failingRequests = 10
	failingShare    = .5
)

// Failing decides whether a workload is failing, from its facts of the last minute, oldest first, and says why in words
// that continue its name. Failing is: no pod is ready although some are wanted, fewer than half of those wanted are ready,
// or half of at least ten requests of the last minute were answered with errors. A workload that is to have no pod does
// not fail, whatever it last did.
func Failing(history []Facts) (bool, string) {
	if len(history) == 0 {
		return false, ""
	}
	newest := history[len(history)-1]
	switch {
	case newest.Desired == 0:
		return false, ""
	case newest.Ready == 0:
		return true, "has no pod that is ready"
	case 2*newest.Ready < newest.Desired:
		return true, fmt.Sprintf("has %d of %d pods ready", newest.Ready, newest.Desired)
	}
	requests, errors := answered(history, newest.At.Add(-failingFor))
	if requests < failingRequests || errors < failingShare*requests {
		return false, ""
	}
	return true, fmt.Sprintf("answers %.0f %% of its requests with errors", 100*errors/requests)
}

// answered is how many requests, and errors, there were since a time. A rate holds since the facts before.
func answered(history []Facts, since time.Time) (requests, errors float64) {
	for i := 1; i < len(history); i++ {
		f := history[i]
		if !f.At.After(since) {
			continue
		}
		span := min(f.At.Sub(history[i-1].At), failingFor).Seconds()
		requests += f.Rate * span
		errors += f.ErrorRate * span
	}
	return requests, errors
}
