package portal

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/web"
)

// overview is the first page.
type overview struct {
	Query   string      `json:"-"`
	Summary summary     `json:"summary"`
	Apps    []appRow    `json:"apps"`
	Nodes   []nodeRow   `json:"nodes"`
	Recent  []recordRow `json:"recent"`
}

// Title of the page.
func (overview) Title() string { return "Overview" }

// summary counts everything, whatever is searched for.
type summary struct {
	Apps       int         `json:"apps"`
	AppsReady  int         `json:"appsReady"`
	Nodes      int         `json:"nodes"`
	NodesReady int         `json:"nodesReady"`
	Zones      int         `json:"zones"`
	Pods       int         `json:"pods"`
	Attention  []attention `json:"attention"`
}

// attention is one thing that a person should look at.
type attention struct {
	Name  string    `json:"name"`
	Page  string    `json:"page,omitempty"`
	State web.State `json:"state"`
}

// appRow is one App in the list.
type appRow struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Kind      string    `json:"kind"` // "service", "worker" or "job"
	State     web.State `json:"state"`
	Observed  int32     `json:"observed"`
	Desired   int32     `json:"desired"`
	Revision  string    `json:"revision,omitempty"`
	URL       string    `json:"url,omitempty"`
	Schedule  string    `json:"schedule,omitempty"`
	Problem   string    `json:"problem,omitempty"`
	Changed   time.Time `json:"changed"`
}

// Page of the App.
func (r appRow) Page() string { return "/apps/" + r.Namespace + "/" + r.Name }

// ShortURL is the URL as people say it.
func (r appRow) ShortURL() string { return shortURL(r.URL) }

func shortURL(url string) string { return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/") }

// nodeRow is one Node in the list.
type nodeRow struct {
	Name    string    `json:"name"`
	Zone    string    `json:"zone,omitempty"`
	State   web.State `json:"state"`
	Problem string    `json:"problem,omitempty"`
	CPU     amount    `json:"cpu"`    // cores
	Memory  amount    `json:"memory"` // bytes
	Pods    amount    `json:"pods"`
	Created time.Time `json:"created"`
}

// amount is how much is reserved of what may be.
type amount struct {
	Used  float64 `json:"reserved"`
	Total float64 `json:"allocatable"`
}

// Percent reserved, at most 100.
func (a amount) Percent() int {
	if a.Total <= 0 {
		return 0
	}
	return min(100, int(100*a.Used/a.Total+0.5))
}

// Cores of cores.
func (a amount) Cores() string { return short(a.Used) + " / " + short(a.Total) }

// GiB of GiB.
func (a amount) GiB() string {
	const gib = 1 << 30
	return short(a.Used/gib) + " / " + short(a.Total/gib) + " GiB"
}

// Count of count.
func (a amount) Count() string { return short(a.Used) + " / " + short(a.Total) }

// short is a number to at most two digits after the point.
func short(f float64) string {
	prec := 2
	if f >= 10 {
		prec = 1
	}
	s := strconv.FormatFloat(f, 'f', prec, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// recentRecords is how many records the overview shows.
const recentRecords = 8

// overviewOf is the first page for facts, with the apps and nodes that a search chooses.
func overviewOf(f facts, query string) overview {
	v := overview{Query: query, Apps: []appRow{}, Nodes: []nodeRow{}}
	for _, app := range f.apps {
		row := rowOf(f.of(app))
		v.Summary.countApp(row)
		if web.Matches(query, row.Namespace, row.Name, row.Kind, row.State.String(), row.Revision, row.URL, row.Problem) {
			v.Apps = append(v.Apps, row)
		}
	}
	pods := podsByNode(f.pods)
	zones := map[string]bool{}
	for i := range f.nodes {
		row := nodeOf(&f.nodes[i], pods[f.nodes[i].Name])
		v.Summary.countNode(row)
		zones[row.Zone] = true
		if web.Matches(query, row.Name, row.Zone, row.State.String(), row.Problem) {
			v.Nodes = append(v.Nodes, row)
		}
	}
	v.Summary.Zones = len(zones)
	for i := range f.pods {
		if isReady(&f.pods[i]) {
			v.Summary.Pods++
		}
	}
	slices.SortFunc(v.Apps, func(a, b appRow) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(v.Nodes, func(a, b nodeRow) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(v.Summary.Attention, func(a, b attention) int { return strings.Compare(a.Name, b.Name) })
	v.Recent = recordRows(f.records[:min(recentRecords, len(f.records))])
	return v
}

func (s *summary) countApp(row appRow) {
	s.Apps++
	switch row.State.Level() {
	case "bad", "warn":
		s.Attention = append(s.Attention, attention{Name: row.Namespace + "/" + row.Name, Page: row.Page(), State: row.State})
	case "busy":
	default:
		s.AppsReady++
	}
}

func (s *summary) countNode(row nodeRow) {
	s.Nodes++
	if row.State == NotReady {
		s.Attention = append(s.Attention, attention{Name: row.Name, State: row.State})
		return
	}
	s.NodesReady++
}

func rowOf(a appFacts) appRow {
	state, problem := diagnose(a)
	app := a.app
	return appRow{
		Namespace: app.Namespace, Name: app.Name, Kind: kindOf(app), State: state, Problem: problem,
		Observed: app.Status.Observed, Desired: app.Status.Desired, Revision: app.Status.Revision, URL: app.Status.URL,
		Schedule: app.Spec.Schedule, Changed: changed(app),
	}
}

func kindOf(app v1alpha1.App) string {
	switch {
	case app.Spec.Schedule != "":
		return "job"
	case app.Spec.Port == 0:
		return "worker"
	}
	return "service"
}

// changed is when a condition last changed, or else when the App was made.
func changed(app v1alpha1.App) time.Time {
	at := app.CreationTimestamp.Time
	for _, c := range app.Status.Conditions {
		if c.LastTransitionTime.After(at) {
			at = c.LastTransitionTime.Time
		}
	}
	return at
}

func podsByNode(pods []corev1.Pod) map[string][]*corev1.Pod {
	out := map[string][]*corev1.Pod{}
	for i := range pods {
		p := &pods[i]
		if p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			out[p.Spec.NodeName] = append(out[p.Spec.NodeName], p)
		}
	}
	return out
}

// nodeOf is the row of a node and the pods that reserve something of it.
func nodeOf(n *corev1.Node, pods []*corev1.Pod) nodeRow {
	row := nodeRow{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], Created: n.CreationTimestamp.Time}
	row.State, row.Problem = nodeState(n)
	row.CPU.Total = n.Status.Allocatable.Cpu().AsApproximateFloat64()
	row.Memory.Total = n.Status.Allocatable.Memory().AsApproximateFloat64()
	row.Pods = amount{Used: float64(len(pods)), Total: n.Status.Allocatable.Pods().AsApproximateFloat64()}
	for _, p := range pods {
		requests := resource.PodRequests(p, resource.PodResourcesOptions{})
		row.CPU.Used += requests.Cpu().AsApproximateFloat64()
		row.Memory.Used += requests.Memory().AsApproximateFloat64()
	}
	return row
}

func nodeState(n *corev1.Node) (web.State, string) {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			if n.Spec.Unschedulable {
				return Cordoned, fmt.Sprintf("It takes no new pods. Undo: escale node uncordon %s", n.Name)
			}
			return Ready, ""
		}
		if c.Type == corev1.NodeReady {
			return NotReady, sentence(c.Message)
		}
	}
	return NotReady, "It has not reported yet."
}
