package waterfall

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var storefront = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "storefront"}

// ms is a time after noon; 0 is none.
func ms(n int) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return noon.Add(time.Duration(n) * time.Millisecond)
}

// act was decided 300 ms after its demand and accepted 20 ms later.
func act(from, to int32) Act {
	return Act{Workload: storefront, From: from, To: to, Reason: "412 in flight", Demand: ms(1), Decided: ms(301), Acted: ms(321)}
}

// seen is a pod with the times of its stages: created, unplaced, bound, started, ready, routed, answered.
func seen(times ...int) Pod {
	p := Pod{Name: "p", IP: "10.0.0.1"}
	for i, slot := range []*time.Time{&p.Created, &p.Unplaced, &p.Bound, &p.Started, &p.Ready, &p.Routed, &p.Answered} {
		if i < len(times) {
			*slot = ms(times[i])
		}
	}
	return p
}

func with(p Pod, change func(*Pod)) Pod {
	change(&p)
	return p
}

// text is stages such as "signal 300 decision 20 placement 12…", in milliseconds, "…" for one that runs.
func text(stages []Stage) string {
	var out []string
	for _, s := range stages {
		end := ""
		if s.Running {
			end = "…"
		}
		out = append(out, fmt.Sprintf("%s %d%s", s.Name, s.Duration.Milliseconds(), end))
	}
	return strings.Join(out, ", ")
}

func TestAssemble(t *testing.T) {
	whole := seen(330, 0, 341, 500, 900, 910, 950)
	for _, c := range []struct {
		name           string
		act            Act
		pods           []Pod
		now            int
		stages, stands string
		over           bool
		next           int
	}{
		{
			"all answered", act(2, 3), []Pod{whole}, 1000,
			"signal 300, decision 20, placement 20, node 0, start 159, ready 400, routed 10, first answer 40",
			"1 of 1 new pods answered after 0.95 s", true, 0,
		},
		{
			"the pod that answered first is shown, whichever was made first", act(2, 4),
			[]Pod{seen(330, 0, 341, 500, 1900, 1910, 2950), seen(331, 0, 342, 500, 900, 910, 950)}, 3000,
			"signal 300, decision 20, placement 21, node 0, start 158, ready 400, routed 10, first answer 40",
			"2 of 2 new pods answered, the first after 0.95 s, the last after 2.95 s", true, 0,
		},
		{
			"a node had to come", act(2, 3), []Pod{seen(330, 341, 4341, 4500, 4900, 4910, 4950)}, 5000,
			"signal 300, decision 20, placement 20, node 4000, start 159, ready 400, routed 10, first answer 40",
			"1 of 1 new pods answered after 4.95 s", true, 0,
		},
		{
			"stages that were not seen, or seen late, end with the next", act(2, 3), []Pod{seen(330, 0, 341, 0, 960, 955, 950)}, 1000,
			"signal 300, decision 20, placement 20, node 0, start 609, ready 0, routed 0, first answer 0",
			"1 of 1 new pods answered after 0.95 s", true, 0,
		},
		{
			"nothing yet", act(2, 5), nil, 421, "signal 300, decision 20, placement 100…",
			"0 of 3 new pods answered; 3 not made", false, 900321,
		},
		{
			"not accepted yet", unanswered(act(2, 5)), nil, 421, "signal 300, decision 120…",
			"the API server has not accepted it yet", false, 900301,
		},
		{
			"no node has room", act(2, 4), []Pod{
				with(seen(330, 341), func(p *Pod) { p.Trouble = "the scheduler says 0/3 nodes are available" }),
				with(seen(330, 341), func(p *Pod) { p.Trouble = "the scheduler says 0/3 nodes are available" }),
			}, 2341,
			"signal 300, decision 20, placement 20, node 2000…",
			"0 of 2 new pods answered; 2 without a node: the scheduler says 0/3 nodes are available", false, 900321,
		},
		{
			"image and crash", act(1, 3), []Pod{
				with(seen(330, 0, 341), func(p *Pod) { p.Trouble = `container "main" waits for image "x": not found` }),
				with(seen(330, 0, 341, 500), func(p *Pod) { p.Trouble = `container "main" ended with exit code 3, restarted 4 times` }),
			}, 600,
			"signal 300, decision 20, placement 20, node 0, start 159, ready 100…",
			`0 of 2 new pods answered; 1 running, not ready: container "main" ended with exit code 3, restarted 4 times; ` +
				`1 starting: container "main" waits for image "x": not found`, false, 900321,
		},
		{
			"ready, waiting for a route", act(1, 2), []Pod{seen(330, 0, 341, 500, 900)}, 1900,
			"signal 300, decision 20, placement 20, node 0, start 159, ready 400, routed 1000…",
			"0 of 1 new pods answered; 1 ready, not yet routed", false, 10900,
		},
		{
			"no route leads there", act(1, 2), []Pod{seen(330, 0, 341, 500, 900)}, 10900,
			"signal 300, decision 20, placement 20, node 0, start 159, ready 400",
			"0 of 1 new pods answered; 1 ready, and no route leads there", true, 0,
		},
		{
			"no request came", act(1, 3), []Pod{whole, seen(330, 0, 341, 500, 900, 910)}, 60910,
			"signal 300, decision 20, placement 20, node 0, start 159, ready 400, routed 10, first answer 40",
			"1 of 2 new pods answered after 0.95 s; 1 ready and routed, without a request yet", true, 0,
		},
		{
			"removed before", act(1, 2), []Pod{with(seen(330, 0, 341), func(p *Pod) { p.Gone = ms(400) })}, 500,
			"signal 300, decision 20, placement 20, node 0", "0 of 1 new pods answered; 1 removed before", true, 0,
		},
		{
			"given up", act(1, 2), []Pod{seen(330, 0, 341)}, 900321,
			"signal 300, decision 20, placement 20, node 0",
			"0 of 1 new pods answered; 1 starting; not waited for longer than 15 min", true, 0,
		},
		{
			"demand not known", Act{Workload: storefront, From: 0, To: 1, Decided: ms(301), Acted: ms(321)}, []Pod{whole}, 1000,
			"signal 0, decision 20, placement 20, node 0, start 159, ready 400, routed 10, first answer 40",
			"1 of 1 new pods answered after 0.65 s", true, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Assemble(c.act, c.pods, ms(c.now))
			if got.Over != c.over || !got.Next.Equal(ms(c.next)) {
				t.Errorf("over %v, next %v; want %v, %v", got.Over, got.Next, c.over, ms(c.next))
			}
			if text(got.Stages) != c.stages {
				t.Errorf("stages\n got %s\nwant %s", text(got.Stages), c.stages)
			}
			if got.Stands != c.stands {
				t.Errorf("stands\n got %s\nwant %s", got.Stands, c.stands)
			}
		})
	}
}

// unanswered is an act the API server has not answered.
func unanswered(a Act) Act {
	a.Acted = time.Time{}
	return a
}

// TestStagesAddUp holds for any order in which the times were seen: the stages never overlap and end with the answer.
func TestStagesAddUp(t *testing.T) {
	for seed := range 500 {
		p, n := seen(330, 0, 341, 500, 900, 910, 950), seed
		for _, slot := range []*time.Time{&p.Bound, &p.Started, &p.Ready, &p.Routed} {
			*slot = ms(330 + 200*(n%5))
			if n%5 == 4 {
				*slot = time.Time{}
			}
			n /= 5
		}
		got := Assemble(act(1, 2), []Pod{p}, ms(5000))
		if got.Total() != 949*time.Millisecond || len(got.Stages) != len(stageNames) {
			t.Fatalf("%+v: %s is %v in all", p, text(got.Stages), got.Total())
		}
		for _, s := range got.Stages {
			if s.Duration < 0 {
				t.Fatalf("%+v: %s", p, text(got.Stages))
			}
		}
	}
}
