package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/web"
	"github.com/escale-dev/escale/internal/web/chart"
)

// mostNotices is how many notices a page shows.
const mostNotices = 20

// notices says what is refused, broken, failing, held, ejected and sent again now, the worst first.
func notices(f Facts, briefs map[string]brief) []web.Notice {
	out := []web.Notice{}
	for _, g := range f.Gateways {
		out = append(out, gatewayNotices(g)...)
	}
	for _, r := range f.Routes {
		out = append(out, routeNotices(r, briefs[r.ID()].numbers, f.History)...)
	}
	for _, p := range f.Policies {
		if row := policyRow(p); row.State == Refused {
			out = append(out, web.Notice{State: row.State, What: "BackendTLSPolicy " + p.Namespace + "/" + p.Name, Text: row.Problem,
				Next: fmt.Sprintf("kubectl describe backendtlspolicy %s -n %s", p.Name, p.Namespace)})
		}
	}
	for _, b := range f.Backends {
		out = append(out, backendNotices(b, f.Now)...)
	}
	web.Gravest(out)
	return out[:min(mostNotices, len(out))]
}

func gatewayNotices(g Gateway) []web.Notice {
	var out []web.Notice
	row := gatewayRow(g)
	what, next := row.Kind+" "+g.Namespace+"/"+g.Name, fmt.Sprintf("kubectl describe %s %s -n %s", strings.ToLower(row.Kind), g.Name, g.Namespace)
	if row.Problem != "" {
		out = append(out, web.Notice{State: row.State, What: what, Text: row.Problem, Next: next})
	}
	for _, l := range row.Listeners {
		if l.Problem != "" {
			out = append(out, web.Notice{State: l.State, What: what + ", listener " + l.Name, Text: l.Problem, Next: next})
		}
	}
	return out
}

func routeNotices(r Route, now Numbers, h *History) []web.Notice {
	n := web.Notice{What: r.Kind + " " + r.ID(), Page: "/traffic/" + r.ID()}
	if state, text := routeState(r); state == Refused || state == Broken {
		n.State, n.Text, n.Next = state, text, fmt.Sprintf("kubectl edit %s %s -n %s", strings.ToLower(r.Kind), r.Name, r.Namespace)
		return []web.Notice{n}
	}
	switch {
	case now.Failing():
		n.State = Failing
		n.Text = fmt.Sprintf("%s of the answers of the last ten seconds are errors%s.", now.ErrorText(), mostly(h.Kinds, h.failures(r.ID())))
		n.Next = fmt.Sprintf("escale status -n %s", r.Namespace)
	case now.Retries > 0:
		n.State = Degraded
		n.Text = fmt.Sprintf("%s are sent again to another pod, because the first one failed.", chart.Rate.Text(float64(now.Retries)))
		n.Next = fmt.Sprintf("escale status -n %s", r.Namespace)
	default:
		return nil
	}
	return []web.Notice{n}
}

// mostly names the kind of failure that is seen most.
func mostly(kinds []string, counts []uint64) string {
	parts := failureParts(kinds, counts)
	if len(parts) == 0 {
		return ", given by the application itself"
	}
	return ", mostly " + parts[0].Name
}

func backendNotices(b Backend, now time.Time) []web.Notice {
	var out []web.Notice
	namespace, service, _ := strings.Cut(b.Name, "/")
	service, _, _ = strings.Cut(service, ":")
	what := "Service " + b.Name
	look := fmt.Sprintf("kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s", namespace, service)
	if b.Full {
		out = append(out, web.Notice{State: Broken, What: what, Next: "Run more pods, or find what makes them slow.",
			Text: fmt.Sprintf("The circuit breaker is open: %d requests are in flight, as many as may be (%d).", b.InFlight, b.Most)})
	}
	switch {
	case b.HoldFull:
		out = append(out, web.Notice{State: Broken, What: what, Text: fmt.Sprintf("No pod is ready, and no more requests are held than the %d that wait.", b.Held), Next: look})
	case b.Held > 0:
		out = append(out, web.Notice{State: Waiting, What: what, Text: fmt.Sprintf("%s for the first ready pod.", waiting(b.Held)), Next: look})
	}
	for _, e := range b.Endpoints {
		if e.Ejected.After(now) {
			out = append(out, web.Notice{State: Ejected, What: what, Next: look,
				Text: fmt.Sprintf("%s gets no requests for %s, because its last attempts failed.", e.Address, chart.Seconds.Text(e.Ejected.Sub(now).Round(time.Second).Seconds()))})
		}
	}
	return out
}

func waiting(n int64) string {
	if n == 1 {
		return "One request waits"
	}
	return fmt.Sprintf("%d requests wait", n)
}
