package portal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ago is a time before noon.
func ago(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }

// objectOf belongs to the App "shop/search" and is ten minutes old.
func objectOf(name string, owners ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: ago(10 * time.Minute),
		Labels: map[string]string{v1alpha1.LabelApp: "search"}}
	for _, o := range owners {
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{UID: types.UID(o)})
	}
	return m
}

func searchApp(status v1alpha1.AppStatus) v1alpha1.App {
	a := v1alpha1.App{ObjectMeta: objectOf("search"), Status: status}
	a.Generation = 1
	a.Spec.Port = 8080
	return a
}

func served(observed, desired int32) v1alpha1.AppStatus {
	return v1alpha1.AppStatus{ObservedGeneration: 1, Observed: observed, Desired: desired, Revision: "aaaa1111", Conditions: readyConditions("aaaa1111")}
}

func unserved(observed, desired int32, reconciling string) v1alpha1.AppStatus {
	s := served(observed, desired)
	s.Conditions = []metav1.Condition{
		cond(v1alpha1.ConditionReady, "False", "PodsNotReady", "1 of 3 pods are ready."),
		cond(v1alpha1.ConditionReconciling, reconciling, "RollingOut", ""),
	}
	return s
}

// podWith is a pod of the App with one container in this status.
func podWith(name string, container corev1.ContainerStatus, ready bool, owners ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: objectOf(name, owners...), Spec: corev1.PodSpec{NodeName: "node-a", Containers: []corev1.Container{{Name: "search"}}}}
	container.Name = "search"
	started := ago(10 * time.Minute)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, ContainerStatuses: []corev1.ContainerStatus{container}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: started}}
	return p
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Image: "shop:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func crashed(code, signal int32, reason string, restarts int32) corev1.ContainerStatus {
	s := waiting("CrashLoopBackOff", "")
	s.RestartCount = restarts
	s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: code, Signal: signal, Reason: reason}
	return s
}

func change(p corev1.Pod, f func(*corev1.Pod)) corev1.Pod {
	f(&p)
	return p
}

func TestPods(t *testing.T) {
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	deleted := ago(time.Second)
	for _, c := range []struct {
		name  string
		pod   corev1.Pod
		state web.State
		wrong string
	}{
		{"ready", podWith("p", running, true), Ready, ""},
		{"being deleted", change(podWith("p", running, false), func(p *corev1.Pod) { p.DeletionTimestamp = &deleted }), Stopping, ""},
		{"job's pod that is through", change(podWith("p", running, false), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), Completed, ""},
		{"young", change(podWith("p", running, false), func(p *corev1.Pod) { p.CreationTimestamp = ago(29 * time.Second) }), Starting, ""},
		{"long not ready", podWith("p", running, false), Starting, `Pod "p" is not ready: Readiness probe failed: HTTP probe failed with statuscode: 503.`},
		{"was ready before", change(podWith("p", running, false), func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = ago(time.Minute) }), NotReady, `Pod "p" is not ready: Readiness probe failed: HTTP probe failed with statuscode: 503.`},
		{"not ready without an event", podWith("q", running, false), Starting, `Pod "q" runs but is not ready.`},
		{"crash loop", podWith("p", crashed(1, 0, "Error", 4), false), Crashing, `Pod "p" stops right after its start (exit code 1, 4 restarts).`},
		{"crash loop by signal", podWith("p", crashed(0, 11, "Error", 1), false), Crashing, `Pod "p" stops right after its start (signal 11, 1 restart).`},
		{"out of memory", podWith("p", crashed(137, 0, "OOMKilled", 2), false), Crashing, `Pod "p" stops right after its start (out of memory, 2 restarts).`},
		{"just stopped", podWith("p", corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2}}}, false), Crashing, `Pod "p" stopped (exit code 2, 0 restarts).`},
		{"no image", podWith("p", waiting("ImagePullBackOff", "no such image"), false), NoImage, `Pod "p" cannot get its image "shop:1": no such image.`},
		{"missing secret", podWith("p", waiting("CreateContainerConfigError", `secret "db" not found`), false), Failing, `Pod "p" cannot start: secret "db" not found.`},
		{"no node", change(podWith("p", running, false), func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available: 3 Insufficient cpu."}}}
		}), NoNode, `Pod "p" fits on no node: 0/3 nodes are available: 3 Insufficient cpu.`},
		{"evicted", change(podWith("p", running, false), func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
		}), Failed, `Pod "p" failed: Evicted.`},
		{"one of two containers", change(podWith("p", crashed(1, 0, "", 1), false), func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar"})
		}), Crashing, `Pod "p" stops right after its start in container "search" (exit code 1, 1 restart).`},
	} {
		t.Run(c.name, func(t *testing.T) {
			probe := corev1.Event{Type: corev1.EventTypeWarning, Message: "Readiness probe failed: HTTP probe failed with statuscode: 503", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p"}}
			if got := podState(&c.pod); got != c.state {
				t.Errorf("state %q, want %q", got, c.state)
			}
			if got := whatIsWrong(&c.pod, []corev1.Event{probe}, noon); got != c.wrong {
				t.Errorf("got  %s\nwant %s", got, c.wrong)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	bad := podWith("bad", crashed(1, 0, "Error", 4), false)
	good := podWith("good", corev1.ContainerStatus{}, true)
	late := appsv1.Deployment{ObjectMeta: objectOf("search")}
	late.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Message: `ReplicaSet "x" has timed out progressing.`}}
	stalled := unserved(0, 3, "False")
	stalled.Conditions = append(stalled.Conditions, cond(v1alpha1.ConditionStalled, "True", "NoImage", `image is missing; run "escale deploy"`))
	for _, c := range []struct {
		name    string
		app     v1alpha1.App
		pods    []corev1.Pod
		deploys []appsv1.Deployment
		state   web.State
		problem string
	}{
		{"new", searchApp(v1alpha1.AppStatus{}), nil, nil, Waiting, "The platform has not acted on the latest change yet."},
		{"changed since", func() v1alpha1.App { a := searchApp(served(3, 3)); a.Generation = 2; return a }(), nil, nil, Waiting, "The platform has not acted on the latest change yet."},
		{"ready", searchApp(served(3, 3)), []corev1.Pod{good}, nil, Ready, ""},
		{"stopped", searchApp(served(0, 0)), nil, nil, Stopped, ""},
		{"suspended beside trouble", func() v1alpha1.App { a := searchApp(served(3, 3)); a.Spec.Suspend = true; return a }(), []corev1.Pod{bad}, nil, Suspended, "Its controller changes nothing until suspend is taken out of the spec."},
		{"job", func() v1alpha1.App { a := searchApp(served(0, 0)); a.Spec.Schedule = "* * * * *"; return a }(), nil, nil, Scheduled, ""},
		{"rolling out", searchApp(unserved(1, 3, "True")), []corev1.Pod{good}, nil, RollingOut, "1 of 3 pods are ready."},
		{"not ready, nobody acts", searchApp(unserved(1, 3, "False")), nil, nil, NotReady, "1 of 3 pods are ready."},
		{"controller's words come first", searchApp(stalled), []corev1.Pod{bad}, nil, Failing, `Image is missing; run "escale deploy".`},
		{"stalled while an older revision serves", searchApp(func() v1alpha1.AppStatus { s := *stalled.DeepCopy(); s.Observed = 2; return s }()), nil, nil, Degraded, `Image is missing; run "escale deploy".`},
		{"others still serve", searchApp(unserved(1, 3, "False")), []corev1.Pod{good, bad}, nil, Degraded, `Pod "bad" stops right after its start (exit code 1, 4 restarts).`},
		{"two pods", searchApp(unserved(0, 3, "False")), []corev1.Pod{bad, bad}, nil, Failing, `Pod "bad" stops right after its start (exit code 1, 4 restarts); one more pod is in trouble.`},
		{"three pods", searchApp(unserved(0, 3, "False")), []corev1.Pod{bad, bad, bad}, nil, Failing, `Pod "bad" stops right after its start (exit code 1, 4 restarts); 2 more pods are in trouble.`},
		{"stalled", searchApp(stalled), nil, nil, Failing, `Image is missing; run "escale deploy".`},
		{"no progress", searchApp(unserved(1, 3, "True")), nil, []appsv1.Deployment{late}, Degraded, `ReplicaSet "x" has timed out progressing.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, problem := diagnose(appFacts{now: noon, app: c.app, pods: c.pods, deployments: c.deploys})
			if state != c.state || problem != c.problem {
				t.Errorf("got  %s: %s\nwant %s: %s", state, problem, c.state, c.problem)
			}
		})
	}
}

// outline is a tree as text.
func outline(nodes []treeNode, depth int) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%s%s %s: %s", strings.Repeat("  ", depth), n.Kind, n.Name, n.State)
		for _, s := range []string{n.Detail, n.Problem} {
			if s != "" {
				fmt.Fprintf(&b, ", %s", s)
			}
		}
		if n.Restarts > 0 {
			fmt.Fprintf(&b, ", %d restarts", n.Restarts)
		}
		b.WriteString("\n" + outline(n.Children, depth+1))
		if n.Rest > 0 {
			fmt.Fprintf(&b, "%s%d earlier\n", strings.Repeat("  ", depth+1), n.Rest)
		}
	}
	return b.String()
}

func replicaSet(name, revision string, ready, wanted int32, age time.Duration) appsv1.ReplicaSet {
	rs := appsv1.ReplicaSet{ObjectMeta: objectOf(name, "deploy")}
	rs.CreationTimestamp = ago(age)
	rs.Spec.Replicas = &wanted
	rs.Spec.Template.Labels = map[string]string{v1alpha1.LabelRevision: revision}
	rs.Status.ReadyReplicas = ready
	return rs
}

func TestTree(t *testing.T) {
	two := int32(2)
	deploy := appsv1.Deployment{ObjectMeta: objectOf("deploy"), Spec: appsv1.DeploymentSpec{Replicas: &two}, Status: appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 1, ReadyReplicas: 2}}
	route := gatewayv1.HTTPRoute{ObjectMeta: objectOf("route")}
	route.Status.Parents = []gatewayv1.RouteParentStatus{{Conditions: []metav1.Condition{
		cond("Accepted", "True", "Accepted", ""), cond("ResolvedRefs", "False", "BackendNotFound", `no Service "search"`)}}}
	cron := batchv1.CronJob{ObjectMeta: objectOf("cron"), Spec: batchv1.CronJobSpec{Schedule: "0 6 * * *"}}
	job := func(name string, age time.Duration, kind batchv1.JobConditionType) batchv1.Job {
		j := batchv1.Job{ObjectMeta: objectOf(name, "cron")}
		j.CreationTimestamp = ago(age)
		j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}
		return j
	}
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a", Labels: map[string]string{corev1.LabelTopologyZone: "a"}}}
	for _, c := range []struct {
		name  string
		facts appFacts
		want  string
	}{
		{"nothing yet", appFacts{}, "App search: Ready, revision aaaa1111\n"},
		{"rolling out", appFacts{
			deployments: []appsv1.Deployment{deploy},
			replicaSets: []appsv1.ReplicaSet{replicaSet("old", "bbbb2222", 2, 2, time.Hour), replicaSet("new", "aaaa1111", 0, 1, time.Minute), replicaSet("older", "cccc3333", 0, 0, 2*time.Hour), replicaSet("oldest", "dddd4444", 0, 0, 3*time.Hour)},
			pods:        []corev1.Pod{podWith("o2", corev1.ContainerStatus{}, true, "old"), podWith("o1", corev1.ContainerStatus{RestartCount: 2}, true, "old"), podWith("n1", crashed(1, 0, "", 1), false, "new")},
			routes:      []gatewayv1.HTTPRoute{route}, nodes: []corev1.Node{node},
		}, `App search: Ready, revision aaaa1111
  HTTPRoute route: Refused, No Service "search".
  Deployment deploy: Rolling out, 2 of 2 ready
    ReplicaSet new: Failing, 0 of 1 ready, revision aaaa1111
      Pod n1: Crashing, node-a, zone a, Pod "n1" stops right after its start (exit code 1, 1 restart)., 1 restarts
    ReplicaSet old: Earlier, 2 of 2 ready, revision bbbb2222
      Pod o1: Ready, node-a, zone a, 2 restarts
      Pod o2: Ready, node-a, zone a
    2 earlier
`},
		{"job", appFacts{
			cronJobs: []batchv1.CronJob{cron},
			jobs:     []batchv1.Job{job("run-1", time.Hour, batchv1.JobFailed), job("run-2", time.Minute, batchv1.JobComplete)},
		}, `App search: Ready, revision aaaa1111
  CronJob cron: Scheduled, 0 6 * * *, has not run yet
    Job run-2: Completed, 0 succeeded, 0 failed
    Job run-1: Failed, 0 succeeded, 0 failed
`},
		{"pod whose owner is gone", appFacts{pods: []corev1.Pod{podWith("lost", corev1.ContainerStatus{}, true, "gone")}},
			"App search: Ready, revision aaaa1111\n  Pod lost: Ready, node-a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.facts.app, c.facts.now = searchApp(served(3, 3)), noon
			if diff := cmp.Diff(c.want, outline(c.facts.tree("/apps/shop/search", Ready, logChoice{}), 0)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBelongs(t *testing.T) {
	other := podWith("other", corev1.ContainerStatus{}, true)
	other.Labels = map[string]string{v1alpha1.LabelApp: "basket"}
	elsewhere := podWith("elsewhere", corev1.ContainerStatus{}, true)
	elsewhere.Namespace = "docs"
	own := podWith("own", corev1.ContainerStatus{}, true)
	event := func(kind, namespace, name string, at time.Duration) corev1.Event {
		return corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, LastTimestamp: ago(at), InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: namespace, Name: name}}
	}
	a := facts{now: noon, pods: []corev1.Pod{other, elsewhere, own}, events: []corev1.Event{
		event("Pod", "shop", "own", time.Minute), event("Pod", "shop", "other", 0), event("Pod", "docs", "own", 0), event("App", "shop", "search", 0),
	}}.of(searchApp(served(1, 1)))
	if len(a.pods) != 1 || a.pods[0].Name != "own" {
		t.Errorf("pods: %d", len(a.pods))
	}
	if len(a.events) != 2 || a.events[0].Name != "search" || a.events[1].Name != "own" {
		t.Errorf("events: %v", a.events)
	}
}

func TestOverview(t *testing.T) {
	node := func(name, zone string, status corev1.ConditionStatus, cordoned bool) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
		n.Spec.Unschedulable = cordoned
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Message: "kubelet stopped posting node status"}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110")}
		return n
	}
	pod := podWith("p", corev1.ContainerStatus{}, true)
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("512Mi")}
	done := change(pod, func(p *corev1.Pod) { p.Name, p.Status.Phase, p.Status.Conditions = "done", corev1.PodSucceeded, nil })
	broken := searchApp(unserved(0, 3, "False"))
	broken.Name = "broken"
	f := facts{now: noon, apps: []v1alpha1.App{searchApp(served(3, 3)), broken, searchApp(v1alpha1.AppStatus{})},
		nodes: []corev1.Node{node("node-b", "b", corev1.ConditionUnknown, false), node("node-a", "a", corev1.ConditionTrue, false), node("node-c", "b", corev1.ConditionTrue, true)},
		pods:  []corev1.Pod{pod, done}}

	v := overviewOf(f, "")
	want := summary{Apps: 3, AppsReady: 1, Nodes: 3, NodesReady: 2, Zones: 2, Pods: 1, Attention: []attention{
		{Name: "node-b", State: NotReady}, {Name: "shop/broken", Page: "/apps/shop/broken", State: NotReady}}}
	if diff := cmp.Diff(want, v.Summary, cmpopts.EquateComparable(web.State{})); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	a := v.Nodes[0]
	if a.Name != "node-a" || a.CPU.Cores() != "0.25 / 2" || a.Memory.GiB() != "0.5 / 4 GiB" || a.Pods.Count() != "1 / 110" || a.CPU.Percent() != 13 {
		t.Errorf("node: %+v, %s, %s, %s, %d %%", a, a.CPU.Cores(), a.Memory.GiB(), a.Pods.Count(), a.CPU.Percent())
	}
	if v.Nodes[1].Problem != "Kubelet stopped posting node status." || v.Nodes[2].State != Cordoned {
		t.Errorf("nodes: %+v", v.Nodes)
	}
	for query, want := range map[string]int{"search": 2, "SHOP bro": 1, "not ready": 1, "nothing": 0} {
		got := overviewOf(f, query)
		if len(got.Apps) != want || got.Summary.Apps != 3 {
			t.Errorf("search for %q: %d apps, want %d", query, len(got.Apps), want)
		}
	}
}

func TestRuns(t *testing.T) {
	for want, spec := range map[string]v1alpha1.AppSpec{
		"source ./search":     {Source: &v1alpha1.Source{Path: "./search"}, Command: []string{"x"}},
		"ghcr.io/acme/shop:1": {Image: "ghcr.io/acme/shop:1", Command: []string{"x", "--password=secret"}},
		"redis-server":        {Image: v1alpha1.HostImage, Command: []string{"redis-server", "--requirepass", "secret"}},
	} {
		if got := runs(v1alpha1.App{Spec: spec}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTimelineView(t *testing.T) {
	at := func(d time.Duration, kind, namespace, name, reason string) timeline.Record {
		return timeline.Record{Time: noon.Add(-d), Actor: "scale", Action: "scaled", Object: timeline.Object{Kind: kind, Namespace: namespace, Name: name}, Reason: reason}
	}
	all := []timeline.Record{
		at(time.Minute, "App", "shop", "search", "240 requests in flight"), at(20*time.Minute, "Node", "", "node-a", ""),
		at(2*time.Hour, "App", "docs", "handbook", ""), at(48*time.Hour, "App", "shop", "basket", ""),
	}
	for _, c := range []struct {
		name string
		q    timelineQuestion
		want string
	}{
		{"all", timelineQuestion{}, "search node-a handbook basket"},
		{"words in any order", timelineQuestion{query: "flight SEARCH"}, "search"},
		{"kind", timelineQuestion{kind: "Node"}, "node-a"},
		{"namespace and time", timelineQuestion{namespace: "shop", within: "24h"}, "search"},
		{"a time that does not exist", timelineQuestion{within: "1y"}, "search node-a handbook basket"},
		{"nothing", timelineQuestion{query: "wonder"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := timelineOf(all, c.q, noon)
			var names []string
			for _, r := range v.Records {
				names = append(names, r.Object.Name)
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if diff := cmp.Diff([]string{"App", "Node"}, v.Kinds); diff != "" {
				t.Errorf("kinds: %s", diff)
			}
		})
	}
	many := make([]timeline.Record, mostRecords+1)
	if v := timelineOf(many, timelineQuestion{}, noon); !v.More || len(v.Records) != mostRecords {
		t.Errorf("%d records, more: %v", len(v.Records), v.More)
	}
}

func TestRecordRows(t *testing.T) {
	app := timeline.Object{Kind: "App", Namespace: "shop", Name: "search"}
	rows := recordRows([]timeline.Record{
		{Time: noon, Object: app, Stages: []timeline.Stage{{Name: "decided"}, {Name: "bound", Duration: time.Second}, {Name: "ready", Duration: 3 * time.Second}}},
		{Time: noon, Object: timeline.Object{Kind: "Node", Name: "node-a"}},
	})
	if rows[0].ID == rows[1].ID || rows[0].Page != "/apps/shop/search" || rows[1].Page != "" || rows[0].Total != 4*time.Second {
		t.Errorf("rows: %+v", rows)
	}
	p := rows[0].Parts
	if p[0].Width < 1 || p[0].From != 0 || p[2].Width < 2*p[1].Width || p[2].From+p[2].Width > 1000 {
		t.Errorf("parts: %+v", p)
	}
	if recordRows(rows1(noon))[0].ID != rows[1].ID {
		t.Error("a row changes its id when a newer record comes")
	}
}

func rows1(at time.Time) []timeline.Record { return []timeline.Record{{Time: at}} }

func TestLogPanel(t *testing.T) {
	p := podWith("p", corev1.ContainerStatus{RestartCount: 1}, true)
	p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}}
	a := appFacts{now: noon, app: searchApp(served(1, 1)), pods: []corev1.Pod{p}}
	for _, c := range []struct {
		name      string
		choice    logChoice
		container string
		starts    int
		source    string
	}{
		{"first container", logChoice{pod: "p"}, "search", 2, "/pods/shop/p/logs?container=search&previous=false"},
		{"the one before", logChoice{"p", "search", true}, "search", 2, "/pods/shop/p/logs?container=search&previous=true"},
		{"init container", logChoice{"p", "migrate", false}, "migrate", 0, "/pods/shop/p/logs?container=migrate&previous=false"},
		{"container that is not there", logChoice{"p", "x", false}, "search", 2, "/pods/shop/p/logs?container=search&previous=false"},
		{"pod that is gone", logChoice{pod: "q"}, "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := a.panel("/apps/shop/search", c.choice)
			if l.Container != c.container || len(l.Starts) != c.starts || l.Source != c.source || l.Close != "/apps/shop/search" {
				t.Errorf("got %+v", l)
			}
		})
	}
	if l := a.panel("/", logChoice{}); l != nil {
		t.Errorf("panel without a choice: %+v", l)
	}
}

func TestEveryStateHasALevel(t *testing.T) {
	for _, s := range []web.State{Ready, Running, Accepted, Scheduled, Waiting, Starting, RollingOut, Stopping, Degraded, Cordoned, Failing, Crashing, NoImage, NoNode, NotReady, Refused, Failed} {
		if s.Level() == "off" {
			t.Errorf("%s has no level", s)
		}
	}
}

func TestSentence(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "pod \"x\" is gone": "Pod \"x\" is gone.", "Done!": "Done!", "node-a is gone": "node-a is gone.",
		"1 of 2 pods": "1 of 2 pods.", "était là": "Était là.", " spaced ": "Spaced.",
	} {
		if got := sentence(in); got != want {
			t.Errorf("sentence(%q) = %q, want %q", in, got, want)
		}
	}
}
