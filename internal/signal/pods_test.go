package signal

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestPodReachedCountsTheFirstTimeOnly(t *testing.T) {
	var s Store
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	s.WatchPods(ctx, func(address string, stage PodStage, at time.Time) {
		told = append(told, fmt.Sprintf("%s %d %d", address, stage, at.Second()))
	})
	s.PodReached("10.0.0.1:80", PodRouted, at)
	s.PodReached("10.0.0.1:80", PodRouted, at.Add(time.Second))
	s.PodReached("10.0.0.1:80", PodAnswered, at.Add(2*time.Second))
	if got, want := s.PodTimes("10.0.0.1:80"), (PodTimes{at, at.Add(2 * time.Second)}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := fmt.Sprint(told); got != "[10.0.0.1:80 0 0 10.0.0.1:80 1 2]" {
		t.Errorf("watchers were told %s", got)
	}
	s.PodForget("10.0.0.10")
	if s.PodTimes("10.0.0.1:80") == (PodTimes{}) {
		t.Error("forgotten with another pod")
	}
	s.PodForget("10.0.0.1")
	if got := s.PodTimes("10.0.0.1:80"); got != (PodTimes{}) {
		t.Errorf("after the pod is gone: %v", got)
	}
	cancel()
	for {
		s.pods.mu.Lock()
		n := len(s.pods.watchers)
		s.pods.mu.Unlock()
		if n == 0 {
			break
		}
	}
}

func TestPodTimesAreBounded(t *testing.T) {
	var s Store
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range maxPods + 10 {
		s.PodReached(fmt.Sprint(i), PodRouted, at)
	}
	if len(s.pods.times) != maxPods || len(s.pods.order) != maxPods {
		t.Errorf("kept %d times of %d addresses, want %d", len(s.pods.times), len(s.pods.order), maxPods)
	}
	if s.PodTimes("9") != (PodTimes{}) || s.PodTimes("10").Routed.IsZero() {
		t.Error("not the oldest made room")
	}
}

func TestPodTimesOfNoStore(t *testing.T) {
	var s *Store
	s.PodReached("a", PodRouted, time.Now())
	s.PodForget("a")
	s.WatchPods(t.Context(), nil)
	if s.PodTimes("a") != (PodTimes{}) {
		t.Error("no store knows something")
	}
}
