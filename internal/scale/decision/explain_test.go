package decision

import (
	"testing"
	"time"
)

func TestExplain(t *testing.T) {
	r := start(t, inFlight(), 2).step(100).step(20)
	f := []Reading{{Value: 20, Active: true, At: r.now}}
	x := Explain(r.set, &r.plan, f, r.now)
	if x.Desired != 10 || x.Wanted != 2 || x.Reason == "" || x.Limit == "" || x.Until == nil || !x.Until.Equal(epoch.Add(301*time.Second)) {
		t.Errorf("got %+v", x)
	}
	if len(x.Evidence) != 1 || x.Evidence[0].Value != 20 || x.Evidence[0].Target != 10 || x.Evidence[0].Unit != "requests in flight" ||
		!x.Evidence[0].At.Equal(r.now) || x.Evidence[0].FailingSince != nil {
		t.Errorf("evidence %+v", x.Evidence)
	}
	empty := Explain(r.set, &Plan{Metric: FromNothing}, nil, r.now)
	if empty.Next != nil || empty.Until != nil || len(empty.Evidence) != 0 {
		t.Errorf("nothing known: %+v", empty)
	}
}

func TestExcess(t *testing.T) {
	set := inFlight()
	for _, c := range []struct {
		name     string
		value    float64
		replicas int32
		want     bool
	}{
		{"within", 20, 2, false}, {"tolerated", 22, 2, false}, {"above", 23, 2, true}, {"from zero", 1, 0, true}, {"nothing from zero", 0, 0, false},
	} {
		got := Excess(set, c.replicas, []Reading{{Value: c.value, Active: c.value > 0, At: epoch}})
		if got.IsZero() == c.want || c.want && !got.Equal(epoch) {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if got := Excess(set, 0, []Reading{{Value: 1, At: epoch}}); !got.IsZero() {
		t.Errorf("what is left of former work wakes: %v", got)
	}
	if got := Excess(set, 1, nil); !got.IsZero() {
		t.Errorf("nothing read: %v", got)
	}
}

func TestReasonNamesTheTrigger(t *testing.T) {
	for want, m := range map[string]Metric{
		`trigger "working-hours"`: {Name: "s0-cron", Trigger: "working-hours", Type: "cron"},
		`trigger "cron"`:          {Name: "s0-cron", Type: "cron"},
		`"s0-cron"`:               {Name: "s0-cron"},
	} {
		if got := m.source(); got != want {
			t.Errorf("%+v is called %s, want %s", m, got, want)
		}
	}
}
