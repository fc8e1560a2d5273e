package decision

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/words"
)

// Reason says in one sentence, with the numbers seen, why the plan is what it is.
func (p *Plan) Reason(set *Settings) string {
	var b strings.Builder
	b.WriteString(p.demandText(set))
	if l := p.LimitText(set); l != "" {
		b.WriteString("; ")
		b.WriteString(l)
	}
	if p.Unread && p.Limit != LimitUnread && p.Metric != FromNothing {
		b.WriteString("; a source cannot be read, and its last value counts")
	}
	return b.String()
}

func (p *Plan) demandText(set *Settings) string {
	switch {
	case p.Metric == FromHeldRequest:
		return "a request waits and no pod is ready"
	case p.Metric == FromFormula && p.Fallback:
		return fmt.Sprintf("the fallback stands in for what cannot be read: %s", Pods(p.Wanted))
	case p.Metric == FromFormula:
		return fmt.Sprintf("the formula gives %s, a pod takes %s: %s", number(p.Demand), number(p.Target), Pods(p.Wanted))
	case p.Metric == FromNothing || p.Metric >= len(set.Metrics):
		if p.Active || p.Unread {
			return "nothing is known of the demand"
		}
		return "no trigger sees work"
	}
	m := &set.Metrics[p.Metric]
	if p.Metrics[p.Metric].Fallback {
		return fmt.Sprintf("%s cannot be read, and the fallback stands in: %s", m.source(), Pods(p.Wanted))
	}
	return m.text(p)
}

func (m *Metric) text(p *Plan) string {
	unit := m.Unit
	if unit == "" {
		unit = "of " + m.source()
	}
	switch m.Kind {
	case Whole:
		return fmt.Sprintf("%s %s, wanted are %s: %s", number(p.Demand), unit, number(p.Target), Pods(p.Wanted))
	case Utilization:
		return fmt.Sprintf("%s %% %s, wanted are %s %%: %s", number(p.Demand), unit, number(p.Target), Pods(p.Wanted))
	}
	return fmt.Sprintf("%s %s, a pod takes %s: %s", number(p.Demand), unit, number(p.Target), Pods(p.Wanted))
}

// source is what people know the metric by: the name or else the type of its trigger.
func (m *Metric) source() string {
	if name := cmp.Or(m.Trigger, m.Type); name != "" {
		return "trigger " + strconv.Quote(name)
	}
	return strconv.Quote(m.Name)
}

// LimitText says what keeps the plan from what is wanted, and until when; empty if nothing does.
func (p *Plan) LimitText(set *Settings) string {
	until := ""
	if !p.Until.IsZero() {
		until = " until " + p.Until.UTC().Format(time.TimeOnly) + " UTC"
	}
	switch p.Limit {
	case LimitMin:
		return fmt.Sprintf("at least %d", set.Min)
	case LimitMax:
		return fmt.Sprintf("at most %d", set.Max)
	case LimitRateUp:
		return "behavior.scaleUp adds no more" + until
	case LimitRateDown:
		return "behavior.scaleDown takes no more away" + until
	case LimitStableUp:
		return "waits for a steady demand" + until
	case LimitStableDown:
		return fmt.Sprintf("keeps pods for %s after they were needed last, or were added:%s", words.Span(set.Down.Stabilization), until)
	case LimitCooldown:
		return fmt.Sprintf("rests %s after the last work:%s", words.Span(set.Cooldown), until)
	case LimitHold:
		return fmt.Sprintf("keeps pods while %q %s, at most%s", p.Failing.Caller, p.Failing.Why, until)
	case LimitUnread:
		return "keeps pods while a source cannot be read"
	case LimitPaused:
		return "paused by annotation"
	case LimitPausedIn:
		return "an annotation keeps pods from being taken away"
	case LimitPausedOut:
		return "an annotation keeps pods from being added"
	}
	return ""
}

// Pods is "1 pod" or "5 pods".
func Pods(n int32) string {
	if n == 1 {
		return "1 pod"
	}
	return strconv.Itoa(int(n)) + " pods"
}

// number is a value with at most three digits after the point.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}
