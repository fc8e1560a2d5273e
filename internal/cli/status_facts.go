package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	resourcehelper "k8s.io/component-helpers/resource"
)

// statusSchema names the form of status; it changes only when a field changes its meaning or goes.
const statusSchema = "escale.dev/status/v1"

// status is the answer of `escale status`. docs/status.md describes it; scripts rely on it.
type status struct {
	Schema   string         `json:"schema"`
	Platform platformStatus `json:"platform"`
	Nodes    []nodeStatus   `json:"nodes"`
	Apps     []appStatus    `json:"apps"`
}

type platformStatus struct {
	// State is that of engine.State, "absent" where no platform was ever started, or "external" for a cluster that is
	// not a platform of this machine.
	State      string        `json:"state"`
	Message    string        `json:"message"`
	Version    string        `json:"version"`
	PID        int           `json:"pid"`
	StartedAt  *time.Time    `json:"startedAt"`
	Stages     []stageStatus `json:"stages"`
	Kubeconfig string        `json:"kubeconfig"`
	PortalURL  string        `json:"portalURL"`
	GatewayURL string        `json:"gatewayURL"`
	Registry   string        `json:"registry"`
	Isolation  string        `json:"isolation"`
}

type stageStatus struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

type nodeStatus struct {
	Name              string `json:"name"`
	Zone              string `json:"zone"`
	Ready             bool   `json:"ready"`
	Cordoned          bool   `json:"cordoned"`
	Address           string `json:"address"`
	Version           string `json:"version"`
	CPUAllocatable    int64  `json:"cpuAllocatable"` // millicores
	CPUReserved       int64  `json:"cpuReserved"`
	MemoryAllocatable int64  `json:"memoryAllocatable"` // bytes
	MemoryReserved    int64  `json:"memoryReserved"`
	Pods              int    `json:"pods"`
}

type appStatus struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Ready     bool   `json:"ready"`
	Desired   int32  `json:"desired"`
	Observed  int32  `json:"observed"`
	URL       string `json:"url"`
	Revision  string `json:"revision"`
	Message   string `json:"message"`
}

func (s platformStatus) running() bool { return s.State == "ready" || s.State == "starting" }

// unready says what is not ready, most important first; empty where all is.
func (s status) unready() string {
	var out []string
	if s.Platform.State != "ready" && s.Platform.State != "external" {
		out = append(out, strings.TrimSuffix("the platform is "+s.Platform.State+": "+s.Platform.Message, ": "))
	}
	for _, n := range s.Nodes {
		if !n.Ready {
			out = append(out, fmt.Sprintf("node %q is not ready", n.Name))
		}
	}
	for _, a := range s.Apps {
		if !a.Ready {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("App %q is not ready: %s", a.Name, clean(a.Message)), ": "))
		}
	}
	return strings.Join(out, "; ")
}

// gatherStatus reads the platform's state file and asks the cluster. A platform that is not ready is a status; a cluster
// that does not answer is an error.
func (e *env) gatherStatus(ctx context.Context, apps []string) (status, error) {
	p := e.target.place()
	s := status{Schema: statusSchema, Nodes: []nodeStatus{}, Apps: []appStatus{}}
	if p.dir == "" {
		s.Platform = platformStatus{State: "external", Kubeconfig: p.String(), Stages: []stageStatus{}}
	} else {
		state, err := p.dir.ReadState()
		if err != nil && !errors.Is(err, engine.ErrNoPlatform) {
			return s, err
		}
		s.Platform = platformOf(state, p.dir)
		if s.Platform.State != "ready" {
			return s, nil
		}
	}
	c, err := e.connect(ctx)
	if err != nil {
		return s, err
	}
	if s.Nodes, err = e.gatherNodes(ctx, c); err != nil {
		return s, err
	}
	s.Apps, err = e.gatherApps(ctx, c, apps)
	return s, err
}

// platformOf is what the state file amounts to. The portal's token is a secret and left out: `escale open` gets one.
func platformOf(state engine.State, dir engine.Dir) platformStatus {
	s := platformStatus{
		State: platformState(state), Message: state.Message, Version: state.Version, PID: state.PID, Stages: []stageStatus{},
		Kubeconfig: state.Kubeconfig, PortalURL: withoutToken(state.PortalURL), GatewayURL: state.GatewayURL,
		Registry: state.Registry, Isolation: state.Isolation,
	}
	if state.State == "" {
		s.State, s.Message = "absent", fmt.Sprintf("no platform has been started in %q: `escale up` starts one", dir)
		return s
	}
	if s.State == "stopped" {
		s.Message = cmp.Or(s.Message, "`escale up` starts it again")
		s.PID = 0
	}
	s.StartedAt = &state.StartedAt
	for _, stage := range state.Stages {
		s.Stages = append(s.Stages, stageStatus{stage.Name, stage.Duration.Seconds()})
	}
	return s
}

func withoutToken(login string) string {
	u, err := url.Parse(login)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// gatherNodes lists the nodes, or none where this user may not see them.
func (e *env) gatherNodes(ctx context.Context, c *cluster) ([]nodeStatus, error) {
	var nodes corev1.NodeList
	var pods corev1.PodList
	err := c.client.List(ctx, &nodes)
	if err == nil {
		err = c.client.List(ctx, &pods)
	}
	if apierrors.IsForbidden(err) {
		fmt.Fprintln(e.err, "note: this user may not list nodes and pods; nodes are not shown")
		return []nodeStatus{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	return nodesOf(nodes.Items, pods.Items), nil
}

// nodesOf is the nodes with what their pods reserve.
func nodesOf(nodes []corev1.Node, pods []corev1.Pod) []nodeStatus {
	out := make([]nodeStatus, 0, len(nodes))
	for _, n := range nodes {
		s := nodeStatus{
			Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], Ready: nodeReady(n), Cordoned: n.Spec.Unschedulable,
			Version:           n.Status.NodeInfo.KubeletVersion,
			CPUAllocatable:    n.Status.Allocatable.Cpu().MilliValue(),
			MemoryAllocatable: n.Status.Allocatable.Memory().Value(),
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP && s.Address == "" {
				s.Address = a.Address
			}
		}
		for i := range pods {
			p := &pods[i]
			if p.Spec.NodeName != n.Name || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				continue
			}
			requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
			s.Pods++
			s.CPUReserved += requests.Cpu().MilliValue()
			s.MemoryReserved += requests.Memory().Value()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b nodeStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func nodeReady(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// gatherApps observes the Apps: all, or those that are named.
func (e *env) gatherApps(ctx context.Context, c *cluster, names []string) ([]appStatus, error) {
	facts, err := release.List(ctx, c.client, e.target.namespace)
	if err != nil {
		return nil, err
	}
	out := []appStatus{}
	for _, f := range facts {
		if len(names) == 0 || slices.Contains(names, f.App.Name) {
			out = append(out, appOf(f.App, release.Observe(f)))
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(out, func(a appStatus) bool { return a.Name == name }) {
			return nil, noApp(name, e.target.namespace, facts)
		}
	}
	return out, nil
}

// noApp says that an App does not exist, and which one may have been meant.
func noApp(name, namespace string, facts []release.Facts) error {
	var names []string
	for _, f := range facts {
		names = append(names, f.App.Name)
	}
	err := fmt.Errorf("there is no App %q", name)
	if namespace != "" {
		err = fmt.Errorf("there is no App %q in namespace %q", name, namespace)
	}
	next := "`escale status` lists the Apps of all namespaces"
	if near := nearest(name, names); near != "" {
		next = fmt.Sprintf("did you mean %q?", near)
	}
	return &failure{err: err, next: next, final: true}
}

func appOf(app v1alpha1.App, observed v1alpha1.AppStatus) appStatus {
	s := appStatus{
		Name: app.Name, Namespace: app.Namespace, Desired: observed.Desired, Observed: observed.Observed,
		URL: observed.URL, Revision: observed.Revision,
	}
	if ready := meta.FindStatusCondition(observed.Conditions, v1alpha1.ConditionReady); ready != nil {
		s.Ready, s.Message = ready.Status == "True", ready.Message
	}
	return s
}
