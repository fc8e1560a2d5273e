package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
)

func TestParseWorkload(t *testing.T) {
	for arg, want := range map[string]string{
		"storefront": "Deployment n/storefront", "deploy/web": "Deployment n/web", "StatefulSet/db": "StatefulSet n/db", "sj/x": "ScaledJob n/x",
	} {
		if got, err := parseWorkload(arg, "n"); err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"pod/x", "deploy/", "a/b/c", ""} {
		if got, err := parseWorkload(arg, "n"); err == nil {
			t.Errorf("%q: got %s", arg, got)
		}
	}
}

func TestExplanationIsDrawn(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stages := []timeline.Stage{{Name: "signal", Duration: time.Second}, {Name: "decision", Duration: 0}, {Name: "ready", Duration: 3 * time.Second}}
	x := explanation{
		Kind: "Deployment", Namespace: "shop", Name: "storefront", Desired: 5, Observed: 2, Scaler: `ScaledObject "storefront"`,
		States: []scalerState{{Type: "Ready", Status: "False", Message: "no gateway\x1b[2J leads to it"}, {Type: "Active", Status: "True"}},
		Decision: &decision.Explanation{
			At: now.Add(-400 * time.Millisecond), Desired: 5, Wanted: 5, Reason: "412 requests in flight, a pod takes 100: 5 pods",
			Evidence: []decision.Evidence{{Metric: "s0", Unit: "requests in flight", Value: 412, Demand: 412, Target: 100, Pods: 5, At: new(now.Add(-500 * time.Millisecond))}},
			Next:     new(now.Add(5 * time.Minute)),
		},
		Running: []waterfall.Scaleup{{
			Act:    waterfall.Act{Workload: signal.Workload{Kind: "Deployment"}, From: 2, To: 5, Reason: "412 in flight"},
			Stages: []waterfall.Stage{{Name: "signal", Duration: time.Second}, {Name: "decision", Duration: time.Second, Running: true}},
			Stands: "0 of 3 new pods answered",
		}},
		Records: []timeline.Record{{Time: now.Add(-time.Minute), Actor: "scale", Action: "scaled up", From: "2 pods", To: "5 pods", Reason: "peak", Stages: stages}},
	}
	var b strings.Builder
	x.print(&b, false, now)
	half, rest := strings.Repeat("█", barWidth/2), strings.Repeat(" ", barWidth/2)
	for _, want := range []string{
		"Deployment shop/storefront   5 desired, 2 ready; scaled by ScaledObject \"storefront\"\n",
		"  decided    400 ms ago: 412 requests in flight, a pod takes 100: 5 pods\n",
		"  seen       412 requests in flight (counts as 412, target 100: 5 pods), 500 ms old\n",
		"  next look  in 5m 0s, and whenever something changes\n  Ready      no   no gateway [2J leads to it\n\n",
		"scaling up from 2 to 5, since 2.00 s: 412 in flight\n",
		"  signal           1.00 s  " + half + "\n  decision       1.00 s …  " + rest + half + "\n  now: 0 of 3 new pods answered\n",
		"scaled up from 2 pods to 5 pods, 1m 0s ago, 4.00 s in all\n  peak\n",
		"  decision           0 ms\n  ready            3.00 s  " + strings.Repeat(" ", barWidth/4) + strings.Repeat("█", 3*barWidth/4) + "\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestBarIsWithinItsWidth(t *testing.T) {
	for total := range 40 {
		for from := range total + 1 {
			for took := range total - from + 1 {
				b := bar(time.Duration(from), time.Duration(took), time.Duration(total))
				if visible(b) > barWidth || (took > 0) != (strings.TrimSpace(b) != "") {
					t.Fatalf("%d of %d from %d: %q", took, total, from, b)
				}
			}
		}
	}
}
