package topology

import (
	"fmt"
	"slices"
	"testing"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var (
	web        = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}
	webService = types.NamespacedName{Namespace: "shop", Name: "web"}
)

func pod(name string, isReady bool, owner, ownerKind string) *corev1.Pod {
	status := corev1.ConditionFalse
	if isReady {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, Labels: map[string]string{"app": "web"}, UID: types.UID(name),
			OwnerReferences: []metav1.OwnerReference{{Kind: ownerKind, Name: owner, Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
			Name: "main", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
		}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.42.4." + name[len(name)-1:],
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", ContainerID: "escale://c" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
}

func replicaSet(name, owner string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name,
		OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: owner, Controller: ptr.To(true)}},
	}}
}

func selecting(set map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: set, ClusterIPs: []string{"10.43.0.7"}},
	}
}

func workloads(x *Index) map[signal.Workload]signal.Replicas {
	all := map[signal.Workload]signal.Replicas{}
	x.Each(func(w signal.Workload, r signal.Replicas) { all[w] = r })
	return all
}

func TestPodsBelongToTheOwnerOfTheirReplicaSetInWhicheverOrderTheyCome(t *testing.T) {
	set := func(x *Index) { x.setReplicaSet(replicaSet("web-1", "web")) }
	pods := func(x *Index) {
		x.SetPod(pod("web-1-1", true, "web-1", "ReplicaSet"))
		x.SetPod(pod("web-1-2", false, "web-1", "ReplicaSet"))
	}
	declared := func(x *Index) { x.SetWorkload(web, 3, labels.Set{"app": "web"}) }
	want := map[signal.Workload]signal.Replicas{web: {Desired: 3, Pods: 2, Ready: 1, CPUReserved: .5, MemoryReserved: 2 * 64 << 20}}
	for i, order := range [][]func(*Index){{set, pods, declared}, {pods, set, declared}, {declared, pods, set}} {
		x := NewIndex()
		for _, step := range order {
			step(x)
		}
		if diff := cmp.Diff(want, workloads(x)); diff != "" {
			t.Errorf("order %d (-want +got):\n%s", i, diff)
		}
		if w, ok := x.ByIP("10.42.4.2"); !ok || w != web {
			t.Errorf("order %d: the pod's address leads to %v", i, w)
		}
	}
}

func TestAnyControllerIsAWorkload(t *testing.T) {
	x := NewIndex()
	x.SetPod(pod("db-0", true, "db", "StatefulSet"))
	x.SetPod(pod("game-1", true, "game", "GameFleet"))
	x.setReplicaSet(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "alone"}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](2)}})
	all := workloads(x)
	for _, w := range []signal.Workload{
		{Kind: "StatefulSet", Namespace: "shop", Name: "db"}, {Kind: "GameFleet", Namespace: "shop", Name: "game"},
		{Kind: "ReplicaSet", Namespace: "shop", Name: "alone"},
	} {
		if _, ok := all[w]; !ok {
			t.Errorf("%v is not known: %v", w, all)
		}
	}
}

func TestAServiceLeadsToWorkloadsByTheirReadyPods(t *testing.T) {
	x := NewIndex()
	x.SetService(selecting(map[string]string{"app": "web"}))
	if got := x.Backends(webService); got != nil {
		t.Fatalf("leads to %v before there is anything", got)
	}
	x.SetWorkload(web, 0, labels.Set{"app": "web", "tier": "front"})
	steps := []struct {
		name string
		do   func()
		want []signal.Backend
	}{
		{"at zero, to what it would select", func() {}, []signal.Backend{{Workload: web, Share: 1}}},
		{"to a pod that is not ready where none is", func() {
			x.setReplicaSet(replicaSet("web-1", "web"))
			x.SetPod(pod("web-1-1", false, "web-1", "ReplicaSet"))
		}, []signal.Backend{{Workload: web, Share: 1}}},
		{"by ready pods", func() {
			x.SetPod(pod("web-1-1", true, "web-1", "ReplicaSet"))
			x.SetPod(pod("web-1-2", true, "web-1", "ReplicaSet"))
			x.SetPod(pod("web-1-3", true, "web-1", "ReplicaSet"))
			x.SetPod(pod("beta-0", true, "beta", "StatefulSet"))
		}, []signal.Backend{{Workload: signal.Workload{Kind: "StatefulSet", Namespace: "shop", Name: "beta"}, Share: .25}, {Workload: web, Share: .75}}},
		{"no longer to what is gone", func() { x.DeletePod(pod("beta-0", true, "beta", "StatefulSet")) }, []signal.Backend{{Workload: web, Share: 1}}},
		{"by its selector as it is now", func() { x.SetService(selecting(map[string]string{"tier": "front"})) }, []signal.Backend{{Workload: web, Share: 1}}},
		{"nowhere without a selector", func() { x.SetService(selecting(nil)) }, nil},
	}
	for _, s := range steps {
		s.do()
		if diff := cmp.Diff(s.want, x.Backends(webService)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestWhatIsOverTakesNoMemory(t *testing.T) {
	x := NewIndex()
	var gone []string
	x.Gone = func(ip string) { gone = append(gone, ip) }
	x.SetService(selecting(map[string]string{"app": "web"}))
	for i := range 5 {
		set := replicaSet(fmt.Sprint("web-", i), "web")
		p := pod(fmt.Sprintf("web-%d-%d", i, i), true, set.Name, "ReplicaSet")
		x.SetWorkload(web, 1, nil)
		x.setReplicaSet(set)
		x.SetPod(p)
		p.Status.Phase = corev1.PodSucceeded
		x.SetPod(p)
		x.DeletePod(p)
		x.deleteReplicaSet(set)
		x.DeleteWorkload(web)
	}
	x.DeleteService(selecting(nil))
	if len(x.pods)+len(x.byIP)+len(x.owners)+len(x.workloads)+len(x.services)+len(x.serviceIPs) != 0 {
		t.Errorf("left over: %+v", x)
	}
	if want := []string{"10.42.4.0", "10.42.4.1", "10.42.4.2", "10.42.4.3", "10.42.4.4"}; !slices.Equal(gone, want) {
		t.Errorf("told that %v are gone, want %v", gone, want)
	}
}

func TestAnAddressThatWentToAnotherPodIsThatOnes(t *testing.T) {
	x := NewIndex()
	old, next := pod("old-7", true, "old", "StatefulSet"), pod("new-7", true, "new", "StatefulSet")
	x.SetPod(old)
	x.SetPod(next)
	x.DeletePod(old)
	if w, ok := x.ByIP("10.42.4.7"); !ok || w.Name != "new" {
		t.Errorf("the address leads to %v", w)
	}
	x.SetService(selecting(map[string]string{"app": "web"}))
	want := []signal.Backend{{Workload: signal.Workload{Kind: "StatefulSet", Namespace: "shop", Name: "new"}, Share: 1}}
	if diff := cmp.Diff(want, x.ByServiceIP("10.43.0.7")); diff != "" {
		t.Errorf("the Service's address leads elsewhere (-want +got):\n%s", diff)
	}
	x.DeleteService(selecting(nil))
	if got := x.ByServiceIP("10.43.0.7"); got != nil {
		t.Errorf("the address of a Service that is gone leads to %v", got)
	}
}
