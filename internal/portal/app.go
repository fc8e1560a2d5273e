package portal

import (
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
)

// appPage is one App.
type appPage struct {
	appRow
	Runs       string      `json:"runs"` // what it runs: an image, a source or a command
	Created    time.Time   `json:"created"`
	Replaces   bool        `json:"-"` // whether restart means something
	Scaled     bool        `json:"-"` // whether its pods follow the work
	Tree       []treeNode  `json:"tree"`
	Conditions []condition `json:"conditions"`
	Events     []eventRow  `json:"events"`
	Recent     []recordRow `json:"recent"`
	Charts     *appCharts  `json:"charts,omitempty"`
	Log        *logPanel   `json:"-"`
}

// Title of the page.
func (p appPage) Title() string { return p.Namespace + "/" + p.Name }

// digest is how an image is named for good.
var digest = regexp.MustCompile(`(@sha256:[0-9a-f]{12})[0-9a-f]+`)

// ShortRuns is Runs with a digest that fits on a line.
func (p appPage) ShortRuns() string { return digest.ReplaceAllString(p.Runs, "$1…") }

// condition of an App.
type condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	State   condState `json:"-"`
	Again   bool      `json:"-"` // the message is that of the condition before
}

// condState is the status of a condition, with the level of what it means for the App.
type condState struct{ status, level string }

func (c condState) Level() string  { return c.level }
func (c condState) String() string { return c.status }

// eventRow is a Kubernetes event.
type eventRow struct {
	ID      string    `json:"-"`
	Type    eventType `json:"type"`
	Reason  string    `json:"reason"`
	Object  string    `json:"object"`
	Message string    `json:"message"`
	Count   int32     `json:"count"`
	Last    time.Time `json:"last"`
}

// eventType is "Normal" or "Warning".
type eventType string

// Level of the type.
func (t eventType) Level() string {
	if string(t) == corev1.EventTypeWarning {
		return "warn"
	}
	return "off"
}

// mostEvents is how many events the page shows.
const mostEvents = 50

// appOf is the page of one App.
func appOf(a appFacts, choice logChoice) appPage {
	p := appPage{
		appRow: rowOf(a), Runs: runs(a.app), Created: a.app.CreationTimestamp.Time,
		Replaces: len(a.deployments) > 0, Scaled: a.app.Spec.Scale != nil, Conditions: []condition{}, Events: []eventRow{},
	}
	p.Tree = a.tree(p.Page(), p.State, choice)
	for _, c := range a.app.Status.Conditions {
		next := conditionOf(c)
		next.Again = len(p.Conditions) > 0 && p.Conditions[len(p.Conditions)-1].Message == c.Message
		p.Conditions = append(p.Conditions, next)
	}
	for _, e := range a.events[:min(mostEvents, len(a.events))] {
		p.Events = append(p.Events, eventOf(e))
	}
	p.Log = a.panel(p.Page(), choice)
	return p
}

// runs says what an App runs, without its environment.
func runs(app v1alpha1.App) string {
	s := app.Spec
	switch {
	case s.Source != nil:
		return "source " + s.Source.Path
	case s.Image != "" && s.Image != v1alpha1.HostImage:
		return s.Image
	case len(s.Command) > 0:
		return s.Command[0]
	}
	return s.Image
}

// conditionOf says for a condition whether its status is good news: for Ready true is, for the others false.
func conditionOf(c metav1.Condition) condition {
	level := "busy"
	isTrue := c.Status == metav1.ConditionTrue
	switch {
	case c.Status == metav1.ConditionUnknown:
	case c.Type == v1alpha1.ConditionReady && isTrue:
		level = "ok"
	case c.Type == v1alpha1.ConditionStalled && isTrue:
		level = "bad"
	case c.Type == v1alpha1.ConditionReady:
		level = "warn"
	case !isTrue:
		level = "off"
	}
	return condition{Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message,
		Since: c.LastTransitionTime.Time, State: condState{string(c.Status), level}}
}

func eventOf(e corev1.Event) eventRow {
	return eventRow{ID: "e" + string(e.UID), Type: eventType(e.Type), Reason: e.Reason, Message: e.Message,
		Object: e.InvolvedObject.Kind + " " + e.InvolvedObject.Name, Count: max(1, e.Count, seriesCount(e)), Last: eventTime(e)}
}

func seriesCount(e corev1.Event) int32 {
	if e.Series == nil {
		return 0
	}
	return e.Series.Count
}

// eventTime is when an event last happened, whichever of the three generations of fields says so.
func eventTime(e corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	for _, at := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.FirstTimestamp.Time} {
		if !at.IsZero() {
			return at
		}
	}
	return e.CreationTimestamp.Time
}

// ownEvents are the events about the App and its objects, newest first.
func (a appFacts) ownEvents(all []corev1.Event) []corev1.Event {
	own := map[string]bool{"App/" + a.app.Name: true}
	add := func(kind, name string) { own[kind+"/"+name] = true }
	for i := range a.deployments {
		add("Deployment", a.deployments[i].Name)
	}
	for i := range a.replicaSets {
		add("ReplicaSet", a.replicaSets[i].Name)
	}
	for i := range a.cronJobs {
		add("CronJob", a.cronJobs[i].Name)
	}
	for i := range a.jobs {
		add("Job", a.jobs[i].Name)
	}
	for i := range a.pods {
		add("Pod", a.pods[i].Name)
	}
	for i := range a.routes {
		add("HTTPRoute", a.routes[i].Name)
	}
	var out []corev1.Event
	for _, e := range all {
		if e.InvolvedObject.Namespace == a.app.Namespace && own[e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name] {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(x, y corev1.Event) int { return eventTime(y).Compare(eventTime(x)) })
	return out
}
