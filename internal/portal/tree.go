package portal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/web"
)

// treeNode is an object and what it made.
type treeNode struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"`
	Name     string     `json:"name"`
	State    web.State  `json:"state"`
	Detail   string     `json:"detail,omitempty"`
	Problem  string     `json:"problem,omitempty"`
	Created  time.Time  `json:"created"`
	Restarts int32      `json:"restarts,omitempty"`
	LogPage  string     `json:"-"`
	Open     bool       `json:"-"` // its log is shown
	Children []treeNode `json:"children,omitempty"`
	// Rest counts the ReplicaSets of earlier revisions that hold no pods and are left out.
	Rest int `json:"earlier,omitempty"`
}

// grower builds the tree from what each object says about its owner.
type grower struct {
	appFacts
	page   string
	choice logChoice
	byID   map[types.UID]bool
	made   map[types.UID][]treeNode // children by their owner
	roots  []treeNode
	rest   map[types.UID]int
}

// tree is what the App became: routes, and Deployments or CronJobs down to the pods. Pods whose owner is gone hang
// below the App.
func (a appFacts) tree(page string, state web.State, choice logChoice) []treeNode {
	g := &grower{appFacts: a, page: page, choice: choice, byID: map[types.UID]bool{}, made: map[types.UID][]treeNode{}, rest: map[types.UID]int{}}
	g.know()
	for i := range a.pods {
		g.hang(a.pods[i].OwnerReferences, g.pod(&a.pods[i]))
	}
	for i := range a.replicaSets {
		g.replicaSet(&a.replicaSets[i])
	}
	for i := range a.jobs {
		j := &a.jobs[i]
		g.hang(j.OwnerReferences, g.node("Job", j.ObjectMeta, jobState(j), fmt.Sprintf("%d succeeded, %d failed", j.Status.Succeeded, j.Status.Failed)))
	}
	for i := range a.deployments {
		d := &a.deployments[i]
		n := g.node("Deployment", d.ObjectMeta, Ready, readyOf(d.Status.ReadyReplicas, d.Spec.Replicas))
		n.State = deploymentState(d, n.Children)
		g.hang(nil, n)
	}
	for i := range a.cronJobs {
		g.cronJob(&a.cronJobs[i])
	}
	for i := range a.routes {
		g.route(&a.routes[i])
	}
	sortTree(g.roots)
	root := g.node("App", a.app.ObjectMeta, state, "")
	if a.app.Status.Revision != "" {
		root.Detail = "revision " + a.app.Status.Revision
	}
	root.Children = g.roots
	return []treeNode{root}
}

// know notes which owners are part of the tree.
func (g *grower) know() {
	for i := range g.replicaSets {
		g.byID[g.replicaSets[i].UID] = true
	}
	for i := range g.jobs {
		g.byID[g.jobs[i].UID] = true
	}
	for i := range g.deployments {
		g.byID[g.deployments[i].UID] = true
	}
	for i := range g.cronJobs {
		g.byID[g.cronJobs[i].UID] = true
	}
}

// node is an object with the children that were hung below it.
func (g *grower) node(kind string, o metav1.ObjectMeta, state web.State, detail string) treeNode {
	children := g.made[o.UID]
	sortTree(children)
	return treeNode{ID: "t-" + strings.ToLower(kind) + "-" + o.Name, Kind: kind, Name: o.Name, State: state,
		Detail: detail, Created: o.CreationTimestamp.Time, Children: children, Rest: g.rest[o.UID]}
}

func (g *grower) hang(owners []metav1.OwnerReference, n treeNode) {
	for _, o := range owners {
		if g.byID[o.UID] {
			g.made[o.UID] = append(g.made[o.UID], n)
			return
		}
	}
	g.roots = append(g.roots, n)
}

// replicaSet hangs a ReplicaSet below its Deployment. Those of earlier revisions without pods are counted only.
func (g *grower) replicaSet(rs *appsv1.ReplicaSet) {
	wanted := int32(1)
	if rs.Spec.Replicas != nil {
		wanted = *rs.Spec.Replicas
	}
	revision := rs.Spec.Template.Labels[v1alpha1.LabelRevision]
	current := revision == g.app.Status.Revision || g.app.Status.Revision == ""
	empty := wanted == 0 && len(g.made[rs.UID]) == 0
	if empty && (!current || g.app.Status.Desired != 0) {
		for _, o := range rs.OwnerReferences {
			g.rest[o.UID]++
		}
		return
	}
	detail := readyOf(rs.Status.ReadyReplicas, rs.Spec.Replicas)
	if revision != "" {
		detail += ", revision " + revision
	}
	n := g.node("ReplicaSet", rs.ObjectMeta, Ready, detail)
	switch {
	case wanted == 0 && current:
		n.State = Stopped
	case !current:
		n.State = Earlier
	case rs.Status.ReadyReplicas < wanted:
		n.State = shortage(n.Children, rs.Status.ReadyReplicas)
	}
	g.hang(rs.OwnerReferences, n)
}

func (g *grower) cronJob(c *batchv1.CronJob) {
	detail, state := c.Spec.Schedule, Scheduled
	if c.Spec.Suspend != nil && *c.Spec.Suspend {
		state = Suspended
	}
	if c.Status.LastScheduleTime == nil {
		detail += ", has not run yet"
	}
	g.hang(nil, g.node("CronJob", c.ObjectMeta, state, detail))
}

// route hangs an HTTPRoute below the App, with what its gateways say.
func (g *grower) route(r *gatewayv1.HTTPRoute) {
	state, problem := Waiting, ""
	for _, parent := range r.Status.Parents {
		for _, c := range parent.Conditions {
			if c.Type != string(gatewayv1.RouteConditionAccepted) && c.Type != string(gatewayv1.RouteConditionResolvedRefs) {
				continue
			}
			if c.Status != metav1.ConditionTrue {
				state, problem = Refused, sentence(c.Message)
			} else if state == Waiting {
				state = Accepted
			}
		}
	}
	n := g.node("HTTPRoute", r.ObjectMeta, state, shortURL(g.app.Status.URL))
	n.Problem = problem
	g.hang(nil, n)
}

func (g *grower) pod(p *corev1.Pod) treeNode {
	n := g.node("Pod", p.ObjectMeta, podState(p), g.place(p))
	n.Problem = whatIsWrong(p, g.events, g.now)
	for _, s := range containerStatuses(p) {
		n.Restarts += s.RestartCount
	}
	n.Open = p.Name == g.choice.pod
	n.LogPage = logPage(g.page, logChoice{pod: p.Name})
	return n
}

// place is where a pod runs.
func (g *grower) place(p *corev1.Pod) string {
	if p.Spec.NodeName == "" {
		return ""
	}
	for i := range g.nodes {
		if g.nodes[i].Name == p.Spec.NodeName {
			if zone := g.nodes[i].Labels[corev1.LabelTopologyZone]; zone != "" {
				return p.Spec.NodeName + ", zone " + zone
			}
		}
	}
	return p.Spec.NodeName
}

// order of the kinds below one parent.
var order = map[string]int{"HTTPRoute": 1, "Deployment": 2, "CronJob": 2, "ReplicaSet": 3, "Job": 3, "Pod": 4}

// sortTree puts kinds in order, the newest ReplicaSets and Jobs first, and others by name.
func sortTree(nodes []treeNode) {
	slices.SortFunc(nodes, func(a, b treeNode) int {
		newest := 0
		if a.Kind == b.Kind && (a.Kind == "ReplicaSet" || a.Kind == "Job") {
			newest = b.Created.Compare(a.Created)
		}
		return cmp.Or(order[a.Kind]-order[b.Kind], newest, strings.Compare(a.Name, b.Name))
	})
}

func readyOf(ready int32, wanted *int32) string {
	n := int32(1)
	if wanted != nil {
		n = *wanted
	}
	return fmt.Sprintf("%d of %d ready", ready, n)
}

// shortage is the state of what has fewer ready pods than it wants: in trouble when a child is, else on its way.
func shortage(children []treeNode, ready int32) web.State {
	for _, c := range children {
		if level := c.State.Level(); level != "bad" && level != "warn" {
			continue
		}
		if ready > 0 {
			return Degraded
		}
		return Failing
	}
	return Starting
}

func deploymentState(d *appsv1.Deployment, children []treeNode) web.State {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	settled := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= wanted && d.Status.Replicas == d.Status.UpdatedReplicas
	switch {
	case deploymentTrouble([]appsv1.Deployment{*d}) != "":
		return Failing
	case wanted == 0 && d.Status.Replicas == 0:
		return Stopped
	case !settled:
		return RollingOut
	case d.Status.ReadyReplicas < wanted:
		return shortage(children, d.Status.ReadyReplicas)
	}
	return Ready
}

func jobState(j *batchv1.Job) web.State {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return Completed
		case batchv1.JobFailed:
			return Failed
		case batchv1.JobSuspended:
			return Suspended
		}
	}
	return Running
}
