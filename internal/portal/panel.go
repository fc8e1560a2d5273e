package portal

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/escale-dev/escale/internal/web"
	corev1 "k8s.io/api/core/v1"
)

// logPanel is the panel with the log of one container.
type logPanel struct {
	Pod        string
	Container  string
	Previous   bool
	State      web.State
	Containers []panelLink
	Starts     []panelLink // the current container and the one before it, if there was one
	Close      string
	Source     string // address of the lines
}

// panelLink is a link that changes what the panel shows.
type panelLink struct {
	Text, Page string
	Current    bool
}

// logChoice is which log a person asked for.
type logChoice struct {
	pod, container string
	previous       bool
}

// logPage is the App's page with a log shown.
func logPage(page string, c logChoice) string {
	q := url.Values{"pod": {c.pod}}
	if c.container != "" {
		q.Set("container", c.container)
	}
	if c.previous {
		q.Set("previous", strconv.FormatBool(true))
	}
	return page + "?" + q.Encode()
}

// panel is the log panel for a choice; nil when no pod is chosen. A pod that is gone leaves a panel that says so.
func (a appFacts) panel(page string, c logChoice) *logPanel {
	if c.pod == "" {
		return nil
	}
	i := slices.IndexFunc(a.pods, func(p corev1.Pod) bool { return p.Name == c.pod })
	if i < 0 {
		return &logPanel{Pod: c.pod, Close: page}
	}
	pod := &a.pods[i]
	names := containerNames(pod)
	if !slices.Contains(names, c.container) {
		c.container = names[0]
	}
	l := &logPanel{Pod: c.pod, Container: c.container, Previous: c.previous, State: podState(pod), Close: page}
	if c.previous || hasPrevious(pod, c.container) {
		l.Starts = []panelLink{
			{Text: "Current", Page: logPage(page, logChoice{pod: c.pod, container: c.container}), Current: !c.previous},
			{Text: "Previous", Page: logPage(page, logChoice{c.pod, c.container, true}), Current: c.previous},
		}
	}
	for _, name := range names {
		l.Containers = append(l.Containers, panelLink{
			Text: name, Page: logPage(page, logChoice{pod: c.pod, container: name}), Current: name == c.container,
		})
	}
	q := url.Values{"container": {c.container}, "previous": {strconv.FormatBool(c.previous)}}
	l.Source = "/pods/" + a.app.Namespace + "/" + c.pod + "/logs?" + q.Encode()
	return l
}

// hasPrevious says whether a container of that name ended before the one there is.
func hasPrevious(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(containerStatuses(pod), func(s corev1.ContainerStatus) bool {
		return s.Name == container && (s.RestartCount > 0 || s.LastTerminationState.Terminated != nil)
	})
}

// containerNames lists a pod's containers, the first one that is not an init container first.
func containerNames(pod *corev1.Pod) []string {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	return names
}
