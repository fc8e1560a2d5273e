package traffic

import (
	"math"
	"testing"
	"time"
)

func TestDecideEjection(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts suspicion
		out   time.Duration
		times int
	}{
		{"four gateway errors are chance", suspicion{gatewayErrors: 4, serverErrors: 4, ready: 3, wellOthers: 2}, 0, 0},
		{"five gateway errors", suspicion{gatewayErrors: 5, serverErrors: 5, ready: 3, wellOthers: 2}, 5 * time.Second, 1},
		{"five gateway errors where all fail", suspicion{gatewayErrors: 5, serverErrors: 5, ready: 3}, 5 * time.Second, 1},
		{"nine answers of 500", suspicion{serverErrors: 9, ready: 3, wellOthers: 2}, 0, 0},
		{"ten answers of 500", suspicion{serverErrors: 10, ready: 3, wellOthers: 2}, 5 * time.Second, 1},
		{"ten answers of 500 from every pod", suspicion{serverErrors: 10, ready: 3}, 0, 0},
		{"the only pod stays", suspicion{gatewayErrors: 50, serverErrors: 50, ready: 1}, 0, 0},
		{"one of two", suspicion{gatewayErrors: 5, ready: 2}, 5 * time.Second, 1},
		{"not both of two", suspicion{gatewayErrors: 5, ready: 2, ejected: 1}, 0, 0},
		{"half of five is two", suspicion{gatewayErrors: 5, ready: 5, ejected: 1}, 5 * time.Second, 1},
		{"not three of five", suspicion{gatewayErrors: 5, ready: 5, ejected: 2}, 0, 0},
		{"again soon: twice as long", suspicion{gatewayErrors: 5, ready: 3, times: 1, last: 5 * time.Second, back: time.Second}, 10 * time.Second, 2},
		{"again late: from the start", suspicion{gatewayErrors: 5, ready: 3, times: 4, last: 40 * time.Second, back: 41 * time.Second}, 5 * time.Second, 1},
		{"never longer than five minutes", suspicion{gatewayErrors: 5, ready: 3, times: 9, last: 4 * time.Minute}, 5 * time.Minute, 10},
		{"not ejected: what was remembered stays", suspicion{gatewayErrors: 1, ready: 3, times: 3, last: time.Minute}, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, times := decideEjection(c.facts); out != c.out || times != c.times {
				t.Errorf("got %v, %d times, want %v, %d", out, times, c.out, c.times)
			}
		})
	}
}

func TestHealthNote(t *testing.T) {
	repeat := func(n int, f failure, code int) (h *health, suspect bool) {
		h = &health{}
		for range n {
			suspect = h.note(f, code)
		}
		return h, suspect
	}
	for _, c := range []struct {
		name    string
		n       int
		f       failure
		code    int
		suspect bool
	}{
		{"refused connections", 5, connectRefused, 0, true},
		{"four refused connections", 4, connectRefused, 0, false},
		{"bad gateway behind the pod", 5, succeeded, 502, true},
		{"errors of the application", 9, succeeded, 500, false},
		{"more errors of the application", 10, succeeded, 500, true},
		{"answers of 404", 99, succeeded, 404, false},
		{"truncated answers tell nothing of the header", 99, answerTruncated, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, suspect := repeat(c.n, c.f, c.code); suspect != c.suspect {
				t.Errorf("got %v, want %v", suspect, c.suspect)
			}
		})
	}
	h, _ := repeat(4, brokenOff, 0)
	if h.note(succeeded, 200); h.note(brokenOff, 0) {
		t.Error("errors before a good answer count")
	}
	h, _ = repeat(4, brokenOff, 0)
	if h.note(succeeded, 500); h.gatewayErrors.Load() != 0 || h.serverErrors.Load() != 5 {
		t.Errorf("an answer of 500 is an answer: %d and %d", h.gatewayErrors.Load(), h.serverErrors.Load())
	}
}

func TestRefill(t *testing.T) {
	for _, c := range []struct {
		name     string
		left     float64
		requests uint64
		elapsed  time.Duration
		want     float64
	}{
		{"an idle backend may repeat ten per second", 0, 0, time.Second, 10},
		{"a fifth of the requests besides", 0, 1000, time.Second, 210},
		{"no time, only requests", 3, 10, 0, 5},
		{"what is older than ten seconds does not count", 0, 60_000, time.Minute, 0.2*10_000 + 100},
		{"no more than one window gives", 5000, 0, 10 * time.Second, 100},
		{"what is left is kept", 40, 0, 2 * time.Second, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := refill(c.left, c.requests, c.elapsed); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// However often a failing backend is asked, about a fifth more reaches it.
func TestRetryBudgetBoundsTheLoad(t *testing.T) {
	var b retryBudget
	now, allowed := time.Unix(0, 0), 0
	const seconds, rate = 60, 1000
	for i := range seconds * rate {
		now = now.Add(time.Second / rate)
		if b.take(uint64(i), now) {
			allowed++
		}
	}
	most := 0.2*seconds*rate + 10*seconds + 0.2*10*rate + 100 // and one window kept from the start
	if float64(allowed) > most || float64(allowed) < 0.2*seconds*rate {
		t.Errorf("%d of %d requests were repeated, want a fifth and at most %v", allowed, seconds*rate, most)
	}
}

func TestMaxInFlight(t *testing.T) {
	for ready, want := range map[int]int64{0: 8192, 1: 8192, 4: 8192, 5: 10240, 100: 204800} {
		if got := maxInFlight(ready); got != want {
			t.Errorf("%d pods: got %d, want %d", ready, got, want)
		}
	}
}
