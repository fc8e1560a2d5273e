package metricsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/metricsapi"
	"github.com/escale-dev/escale/internal/signal/topology"
	"github.com/escale-dev/escale/internal/signal/usage"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// world is what pods use, as a test has it: a source of usage.
type world struct {
	mu    sync.Mutex
	cores float64
	used  time.Duration
	last  time.Time
}

func (w *world) set(cores float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cores = cores
}

func (w *world) Read(_ context.Context, pods []*topology.Pod) (out usage.Reading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.last.IsZero() {
		w.used += time.Duration(w.cores * float64(now.Sub(w.last)))
	}
	w.last = now
	for _, p := range pods {
		for _, c := range p.Containers {
			out.Containers = append(out.Containers, usage.Sample{Pod: p.UID, Container: c.Name, At: now, CPU: w.used, Memory: 48 << 20})
		}
	}
	return out
}

// queue is an external metric.
type queue struct {
	mu    sync.Mutex
	value float64
}

func (q *queue) set(v float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.value = v
}

func (q *queue) ExternalMetrics(_ context.Context, _, name string, s labels.Selector) ([]signal.ExternalValue, error) {
	have := labels.Set{"scaledobject.keda.sh/name": "worker"}
	if name != "s0-orders" || !s.Matches(have) {
		return nil, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return []signal.ExternalValue{{Labels: have, Value: q.value, At: time.Now()}}, nil
}

// reachable is an address of this machine that an EndpointSlice may name.
func reachable(t *testing.T) string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("needs an address other than loopback")
	return ""
}

// served is the metrics APIs on a real API server.
type served struct {
	admin *rest.Config
	kube  *kubernetes.Clientset
	usage *world
	queue *queue
	addr  string
	space string
}

func serve(t *testing.T) *served {
	t.Helper()
	admin := enginetest.Start(t)
	kube, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{admin: admin, kube: kube, usage: &world{}, queue: &queue{}}
	m, err := ctrl.NewManager(admin, manager.Options{Scheme: clientscheme.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	index := topology.NewIndex()
	if err := index.Watch(t.Context(), m.GetCache()); err != nil {
		t.Fatal(err)
	}
	tracker := usage.NewTracker(s.usage, index)
	store := signal.New(signal.Config{Topology: index, Usage: tracker})
	store.AddExternal(s.queue)
	listener, err := net.Listen("tcp", net.JoinHostPort(reachable(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	direct, err := client.New(admin, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []manager.Runnable{
		manager.RunnableFunc(store.Run),
		metricsapi.New(metricsapi.Config{
			Listener: listener, Kube: kube, Client: direct, Nodes: m.GetCache(), Store: store, Topology: index, Usage: tracker,
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}),
	} {
		if err := m.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.namespace(t)
	return s
}

func (s *served) namespace(t *testing.T) {
	t.Helper()
	ns, err := s.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "metrics-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.space = ns.Name
}

// eventually waits for a condition on the API server, which changes by itself.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		good, last := ok()
		if good {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited a minute for %s; last: %s", what, last)
		case <-tick.C:
		}
	}
}

// read gets a path as the API server serves it.
func read[T any](t *testing.T, c *kubernetes.Clientset, path string, query ...string) (T, error) {
	t.Helper()
	r := c.RESTClient().Get().AbsPath(path)
	for i := 0; i+1 < len(query); i += 2 {
		r = r.Param(query[i], query[i+1])
	}
	var out T
	b, err := r.DoRaw(t.Context())
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(b, &out)
}

// deploy makes a Deployment whose pods this test plays: there are no nodes.
func (s *served) deploy(t *testing.T, name string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}
	_, err := s.kube.AppsV1().Deployments(s.space).Create(t.Context(), &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: meta.Labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "escale.dev/host",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
		}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod to run", func() (bool, string) { return s.run(t, name) > 0, "no pod" })
}

// run says that the pods of a Deployment run, and returns how many there are.
func (s *served) run(t *testing.T, name string) int {
	t.Helper()
	pods, err := s.kube.CoreV1().Pods(s.space).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning {
			continue
		}
		// An autoscaler leaves out what the start of a pod uses, so these began long ago.
		began := metav1.NewTime(time.Now().Add(-time.Hour))
		status := fmt.Sprintf(`{"status":{"phase":"Running","podIP":"10.42.4.9","startTime":%q,"conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}],
			"containerStatuses":[{"name":"main","ready":true,"restartCount":0,"image":"x","imageID":"x","containerID":"escale://x","state":{"running":{"startedAt":%q}}}]}}`,
			began.UTC().Format(time.RFC3339), began.UTC().Format(time.RFC3339), began.UTC().Format(time.RFC3339))
		if _, err := s.kube.CoreV1().Pods(s.space).Patch(t.Context(), p.Name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	return len(pods.Items)
}

func (s *served) autoscale(t *testing.T, name string, metric autoscalingv2.MetricSpec) {
	t.Helper()
	_, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers(s.space).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MaxReplicas:    4, Metrics: []autoscalingv2.MetricSpec{metric},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *served) replicas(t *testing.T, name string, want int32) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replicas of %q", want, name), func() (bool, string) {
		s.run(t, name)
		h, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers(s.space).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(h.Status)
		return h.Status.DesiredReplicas == want, string(b)
	})
}

func TestMetricsAPIsOnARealAPIServer(t *testing.T) {
	s := serve(t)
	s.usage.set(.25)
	s.deploy(t, "web")
	const group = "/apis/metrics.k8s.io/v1beta1"
	pods := group + "/namespaces/" + s.space + "/pods"

	t.Run("what pods use is about a second old, and says so", func(t *testing.T) {
		eventually(t, "the use of a pod", func() (bool, string) {
			list, err := read[metricsv1beta1.PodMetricsList](t, s.kube, pods, "labelSelector", "app=web")
			if err != nil || len(list.Items) != 1 || len(list.Items[0].Containers) != 1 {
				return false, fmt.Sprint(list, err)
			}
			m := list.Items[0]
			cores := m.Containers[0].Usage.Cpu().AsApproximateFloat64()
			memory := m.Containers[0].Usage.Memory().Value()
			fresh := time.Since(m.Timestamp.Time) < 3*time.Second && m.Window.Duration >= usage.Window
			return fresh && cores > .24 && cores < .26 && memory == 48<<20, fmt.Sprint(m)
		})
	})
	t.Run("selectors are kept to", func(t *testing.T) {
		for query, want := range map[string]int{"app=web": 1, "app=other": 0} {
			list, err := read[metricsv1beta1.PodMetricsList](t, s.kube, pods, "labelSelector", query)
			if err != nil || len(list.Items) != want {
				t.Errorf("%s: %d pods, want %d: %v", query, len(list.Items), want, err)
			}
		}
		if _, err := read[metricsv1beta1.PodMetricsList](t, s.kube, pods, "fieldSelector", "spec.nodeName=x"); !apierrors.IsBadRequest(err) {
			t.Errorf("a field that is not served: %v, want a refusal", err)
		}
		if _, err := read[metricsv1beta1.PodMetrics](t, s.kube, pods+"/nobody"); !apierrors.IsNotFound(err) {
			t.Errorf("a pod that is not there: %v, want not found", err)
		}
	})
	t.Run("discovery names them", func(t *testing.T) {
		eventually(t, "discovery", func() (bool, string) {
			for _, g := range []string{"metrics.k8s.io/v1beta1", "external.metrics.k8s.io/v1beta1"} {
				if _, err := s.kube.Discovery().ServerResourcesForGroupVersion(g); err != nil {
					return false, err.Error()
				}
			}
			_, lists, err := s.kube.Discovery().ServerGroupsAndResources()
			for _, l := range lists {
				if l.GroupVersion == "metrics.k8s.io/v1beta1" && len(l.APIResources) == 2 {
					return err == nil, fmt.Sprint(err)
				}
			}
			return false, fmt.Sprint(lists, err)
		})
	})
	t.Run("the API server's description has them", func(t *testing.T) {
		eventually(t, "OpenAPI", func() (bool, string) {
			paths, err := s.kube.Discovery().OpenAPIV3().Paths()
			if err != nil {
				return false, err.Error()
			}
			return paths["apis/metrics.k8s.io/v1beta1"] != nil && paths["apis/external.metrics.k8s.io/v1beta1"] != nil, fmt.Sprint(len(paths))
		})
		eventually(t, "OpenAPI 2", func() (bool, string) {
			doc, err := s.kube.Discovery().OpenAPISchema()
			if err != nil {
				return false, err.Error()
			}
			for _, d := range doc.GetDefinitions().GetAdditionalProperties() {
				if d.GetName() == "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics" {
					return true, ""
				}
			}
			return false, "no PodMetrics"
		})
	})
	t.Run("who may not read them is refused", func(t *testing.T) {
		other := rest.CopyConfig(s.admin)
		other.Impersonate = rest.ImpersonationConfig{UserName: "nobody", Groups: []string{"system:authenticated"}}
		kube, err := kubernetes.NewForConfig(other)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read[metricsv1beta1.PodMetricsList](t, kube, pods); !apierrors.IsForbidden(err) {
			t.Errorf("got %v, want forbidden", err)
		}
	})
	t.Run("who is not the API server gets no connection", func(t *testing.T) {
		direct := rest.CopyConfig(s.admin)
		direct.Host = "https://" + s.addr
		direct.TLSClientConfig.CAData, direct.TLSClientConfig.CAFile, direct.TLSClientConfig.Insecure = nil, "", true
		c, err := rest.HTTPClientFor(direct)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, direct.Host+pods, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Remote-User", "admin")
		r.Header.Set("X-Remote-Group", "system:masters")
		resp, err := c.Do(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("the administrator's own certificate got %s", resp.Status)
		}
	})
	t.Run("an autoscaler follows processor use", func(t *testing.T) {
		s.autoscale(t, "web", autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
		}})
		s.replicas(t, "web", 1)
		s.usage.set(1)
		s.replicas(t, "web", 4)
	})
	t.Run("an autoscaler follows an external metric", func(t *testing.T) {
		s.queue.set(5)
		s.deploy(t, "worker")
		s.autoscale(t, "worker", autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: "s0-orders", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"scaledobject.keda.sh/name": "worker"}}},
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("10"))},
		}})
		s.replicas(t, "worker", 1)
		s.queue.set(30)
		s.replicas(t, "worker", 3)
		list, err := read[externalv1beta1.ExternalMetricValueList](t, s.kube, "/apis/external.metrics.k8s.io/v1beta1/namespaces/"+s.space+"/s0-orders", "labelSelector", "scaledobject.keda.sh/name=worker")
		if err != nil || len(list.Items) != 1 || list.Items[0].Value.Value() != 30 {
			t.Errorf("got %v: %v", list, err)
		}
	})
}
