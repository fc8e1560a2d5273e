package node

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	"k8s.io/kubernetes/pkg/kubelet/prober"
	"k8s.io/kubernetes/pkg/kubelet/prober/results"
	"k8s.io/kubernetes/pkg/kubelet/status"
)

// statuses tells the kubelet's probes what the pod does.
type statuses struct {
	status.Manager
	now *atomic.Pointer[v1.PodStatus]
}

func (s statuses) GetPodStatus(types.UID) (v1.PodStatus, bool) { return *s.now.Load(), true }

// TestHastenedProbes has the kubelet's own probes find a program ready that listens already, long before their period
// is over. It notices a Kubernetes release in which probes cannot be run by hand this way.
func TestHastenedProbes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	probe := &v1.Probe{
		ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{
			Port: intstr.FromInt32(int32(listener.Addr().(*net.TCPAddr).Port)),
		}},
		PeriodSeconds: 3600, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 1,
	}
	synctest.Test(t, func(t *testing.T) {
		startup, readiness := results.NewManager(), results.NewManager()
		var known atomic.Pointer[v1.PodStatus]
		known.Store(&v1.PodStatus{})
		manager := prober.NewManager(statuses{now: &known}, results.NewManager(), readiness, startup, nil, record.NewFakeRecorder(10))
		time.Sleep(2 * time.Hour) // the kubelet spreads the first probes after its own start
		var looks atomic.Int32
		p, err := newProbes(manager, func(types.UID) { looks.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		pod := &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"},
			Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "c", StartupProbe: probe, ReadinessProbe: probe}}},
		}
		p.AddPod(t.Context(), pod)
		synctest.Wait() // the first probes find no container
		began := time.Now()
		now := &v1.PodStatus{PodIP: "127.0.0.1", ContainerStatuses: []v1.ContainerStatus{{
			Name: "c", ContainerID: "escale://1",
			State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.Now()}},
		}}}
		p.UpdatePodStatus(t.Context(), pod, now)
		known.Store(now.DeepCopy())
		for r := range startup.Updates() {
			if r.Result == results.Success {
				break
			}
		}
		p.UpdatePodStatus(t.Context(), pod, now)
		known.Store(now.DeepCopy())
		for r := range readiness.Updates() {
			if r.Result == results.Success {
				break
			}
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("ready after %s, want at once", took)
		}
		if looks.Load() == 0 { // the kubelet runs the readiness probe by itself on the sync after the startup probe
			t.Error("the kubelet did not look at the pod's containers when the startup probe was run")
		}
		p.RemovePod(pod)
		synctest.Wait()
	})
}
