package draw

import (
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web/chart"
)

func TestMarks(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := Marks([]timeline.Record{
		{Time: at, Action: "scaled up", From: "2 pods", To: "5 pods"},
		{Time: at, Action: "restarted"},
		{Time: at, Action: "brought up", To: "2 pods"},
		{Time: at, Action: "stalled"},
	})
	want := []chart.Mark{
		{At: at, Kind: chart.ScaledUp, Text: "scaled up 2 pods → 5 pods"},
		{At: at, Kind: chart.ScaledUp, Text: "brought up 2 pods"},
		{At: at, Kind: chart.Trouble, Text: "stalled"},
	}
	if len(got) != len(want) {
		t.Fatalf("marks are %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("mark %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestWaterfall(t *testing.T) {
	w := Waterfall("w", []timeline.Stage{{Name: "signal", Duration: time.Second}, {Name: "start", Duration: 2 * time.Second}})
	if w.Title != "until start, then given up: no pod became ready" || w.Own() != 2*time.Second || w.Total() != 3*time.Second {
		t.Errorf("an unfinished scale-up is %q, %s of %s its own", w.Title, w.Own(), w.Total())
	}
	if w = Waterfall("w", []timeline.Stage{{Name: FirstAnswer}}); w.Title != "until the first answer" {
		t.Errorf("a finished scale-up is titled %q", w.Title)
	}
}
