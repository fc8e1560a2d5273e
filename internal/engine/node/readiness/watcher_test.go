package readiness

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// subject is a pod with one running container that has passed nothing.
func subject(startup, readiness *v1.Probe) (*v1.Pod, *v1.PodStatus) {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "c", StartupProbe: startup, ReadinessProbe: readiness}}},
	}
	started := startup == nil
	return pod, &v1.PodStatus{PodIP: "10.0.0.1", ContainerStatuses: []v1.ContainerStatus{{
		Name: "c", ContainerID: "escale://1", Started: &started,
		State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}}
}

func tcp(period, delay int32) *v1.Probe {
	return &v1.Probe{
		ProbeHandler:  v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(80)}},
		PeriodSeconds: period, TimeoutSeconds: 1, InitialDelaySeconds: delay, SuccessThreshold: 1, FailureThreshold: 1,
	}
}

// program answers well from a time on, and counts what it is asked.
type program struct {
	ready time.Time
	asked atomic.Int32
	ran   atomic.Int32
	first time.Time
}

func (p *program) ask(*Target) bool {
	p.asked.Add(1)
	return !time.Now().Before(p.ready)
}

func (p *program) run(Probe) {
	if p.ran.Add(1) == 1 {
		p.first = time.Now()
	}
}

func TestAProgramIsFoundReadySoon(t *testing.T) {
	cases := []struct {
		name          string
		takes         time.Duration
		period, delay int32
		late          time.Duration
		asked         int32
	}{
		{"a fast one", 40 * time.Millisecond, 1, 0, 5 * time.Millisecond, 10},
		{"one of a second", time.Second, 1, 0, 53 * time.Millisecond, 80},
		{"one of twenty seconds", 19 * time.Second, 10, 0, time.Second, 140},
		{"one that must not be asked yet", 40 * time.Millisecond, 10, 3, 3200 * time.Millisecond, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &program{ready: time.Now().Add(tc.takes)}
				w := newWatcher(p.ask, p.run)
				began := time.Now()
				w.Observe(subject(tcp(tc.period, tc.delay), nil))
				time.Sleep(tc.takes + tc.late + time.Millisecond)
				synctest.Wait()
				w.Forget("u")
				if p.ran.Load() == 0 {
					t.Fatalf("the probe did not run within %s", tc.takes+tc.late)
				}
				if took := p.first.Sub(began); took < tc.takes || took < time.Duration(tc.delay)*time.Second {
					t.Errorf("the probe ran after %s, before the program was ready or its delay was over", took)
				}
				if n := p.asked.Load(); n > tc.asked {
					t.Errorf("asked %d times, want at most %d", n, tc.asked)
				}
			})
		})
	}
}

func TestTheKubeletsPaceIsEnoughInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &program{ready: time.Now().Add(time.Hour)}
		newWatcher(p.ask, p.run).Observe(subject(tcp(1, 0), nil))
		time.Sleep(21 * time.Second)
		synctest.Wait()
		before := p.asked.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.asked.Load(); n != before || n > 140 {
			t.Errorf("asked %d times in 21 s, %d times in the minute after; want at most 140, then none", before, n-before)
		}
		if p.ran.Load() > 0 {
			t.Error("the probe ran without a good answer")
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	yes, no := true, false
	cases := []struct {
		name string
		end  func(*Watcher, *v1.Pod, *v1.PodStatus)
	}{
		{"when the container is ready", func(w *Watcher, pod *v1.Pod, s *v1.PodStatus) {
			s.ContainerStatuses[0].Started, s.ContainerStatuses[0].Ready = &yes, true
			w.Observe(pod, s)
		}},
		{"when it has ended", func(w *Watcher, pod *v1.Pod, s *v1.PodStatus) {
			s.ContainerStatuses[0].Started = &no
			s.ContainerStatuses[0].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
			w.Observe(pod, s)
		}},
		{"when the pod is deleted", func(w *Watcher, pod *v1.Pod, s *v1.PodStatus) {
			now := metav1.Now()
			pod.DeletionTimestamp = &now
			w.Observe(pod, s)
		}},
		{"when the pod is forgotten", func(w *Watcher, pod *v1.Pod, _ *v1.PodStatus) { w.Forget(pod.UID) }},
		{"when the pod is not kept", func(w *Watcher, _ *v1.Pod, _ *v1.PodStatus) {
			w.Retain(func(types.UID) bool { return false })
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &program{ready: time.Now().Add(time.Hour)}
				w := newWatcher(p.ask, p.run)
				pod, status := subject(tcp(1, 0), tcp(1, 0))
				w.Observe(pod, status)
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				tc.end(w, pod, status)
				before := p.asked.Load()
				time.Sleep(time.Second)
				synctest.Wait()
				if n := p.asked.Load() - before; before == 0 || n != 0 {
					t.Errorf("asked %d times before and %d times after", before, n)
				}
				if len(w.pods) != 0 {
					t.Errorf("%d pods are remembered", len(w.pods))
				}
			})
		})
	}
}

func TestReadinessFollowsStartup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kinds []Kind
		w := newWatcher(func(*Target) bool { return true }, func(p Probe) { kinds = append(kinds, p.Kind) })
		pod, status := subject(tcp(1, 0), tcp(1, 0))
		w.Observe(pod, status)
		time.Sleep(6 * time.Millisecond)
		synctest.Wait()
		*status.ContainerStatuses[0].Started = true
		w.Observe(pod, status)
		time.Sleep(6 * time.Millisecond)
		synctest.Wait()
		w.Forget(pod.UID)
		if len(kinds) != 2 || kinds[0] != Startup || kinds[1] != Readiness {
			t.Errorf("ran %v, want the startup probe and then the readiness probe", kinds)
		}
	})
}

func TestTargets(t *testing.T) {
	twice := tcp(1, 0)
	twice.SuccessThreshold = 2
	command := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{}}, PeriodSeconds: 1}
	always := v1.ContainerRestartPolicyAlways
	cases := []struct {
		name   string
		change func(*v1.Pod, *v1.PodStatus)
		want   []Kind
	}{
		{"startup first", func(*v1.Pod, *v1.PodStatus) {}, []Kind{Startup}},
		{"no probe", func(p *v1.Pod, _ *v1.PodStatus) { p.Spec.Containers[0].StartupProbe = nil }, nil},
		{"a command", func(p *v1.Pod, _ *v1.PodStatus) { p.Spec.Containers[0].StartupProbe = command }, nil},
		{"several successes", func(p *v1.Pod, s *v1.PodStatus) {
			*s.ContainerStatuses[0].Started = true
			p.Spec.Containers[0].ReadinessProbe = twice
		}, nil},
		{"no address yet", func(_ *v1.Pod, s *v1.PodStatus) { s.PodIP = "" }, nil},
		{"the address of the node", func(p *v1.Pod, s *v1.PodStatus) { s.PodIP, p.Status.PodIP = "", "10.0.0.2" }, []Kind{Startup}},
		{"a sidecar", func(p *v1.Pod, s *v1.PodStatus) {
			p.Spec.InitContainers = []v1.Container{{Name: "side", RestartPolicy: &always, StartupProbe: tcp(1, 0)}}
			side := s.ContainerStatuses[0]
			side.Name = "side"
			s.InitContainerStatuses = []v1.ContainerStatus{side}
		}, []Kind{Startup, Startup}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			pod, status := subject(tcp(1, 0), tcp(1, 0))
			tc.change(pod, status)
			got := targets(pod, status)
			if len(got) != len(tc.want) {
				t.Fatalf("got %d targets, want %d", len(got), len(tc.want))
			}
			for i := range got {
				if got[i].Kind != tc.want[i] {
					t.Errorf("target %d is %s, want %s", i, got[i].Kind, tc.want[i])
				}
			}
		})
	}
}

// TestAsk asks real servers.
func TestAsk(t *testing.T) {
	var healthy atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	port := intstr.FromInt32(int32(server.Listener.Addr().(*net.TCPAddr).Port))
	a := newAsker()
	ask := func(h v1.ProbeHandler) bool {
		return a.ask(&Target{Host: "127.0.0.1", Spec: &v1.Probe{ProbeHandler: h, TimeoutSeconds: 1}, Of: &v1.Container{}})
	}
	health := v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: port, Path: "/"}}
	if ask(health) {
		t.Error("503 counts as ready")
	}
	healthy.Store(true)
	if !ask(health) {
		t.Error("200 does not count as ready")
	}
	listens := v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: port}}
	if !ask(listens) {
		t.Error("a port that listens does not count as ready")
	}
	if ask(v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: port.IntVal}}) {
		t.Error("a server that does not speak gRPC counts as ready")
	}
	server.Close()
	if ask(health) || ask(listens) || ask(v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: port.IntVal}}) {
		t.Error("a closed port counts as ready")
	}
}
