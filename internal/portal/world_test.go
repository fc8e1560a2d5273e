package portal

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

// world is a portal on a real API server with its controllers and scheduler. The test writes what a kubelet and the
// platform's controllers would: the status of nodes, pods, routes and Apps.
type world struct {
	t        *testing.T
	client   client.Client // reads from the cache that the pages are made of
	hub      *hub
	timeline *timeline.Timeline
	web      *web.Server
	kubelet  *logServer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := enginetest.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme, gatewayv1.Install} {
		must(t, add(scheme))
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	mgr, err := manager.New(cfg, manager.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	must(t, err)
	kube, err := kubernetes.NewForConfig(cfg)
	must(t, err)
	tl, err := timeline.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, tl.Close()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server, err := web.New(web.Config{Listener: listener, Dir: t.TempDir(), Version: "0.1.0", Log: log})
	must(t, err)
	must(t, Setup(t.Context(), Deps{Manager: mgr, Kube: kube, Timeline: tl, Web: server, Log: log}))

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{mgr.Start, server.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		t.Fatal("cache did not fill")
	}
	w := &world{t: t, client: mgr.GetClient(), hub: newHub(), timeline: tl, web: server, kubelet: newLogServer(t)}
	must(t, (&portal{hub: w.hub}).watch(ctx, mgr.GetCache()))
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for objects to change until ok.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	changes := w.hub.changes(ctx)
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited in vain for %s", what)
		case <-changes:
		}
	}
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	must(w.t, w.client.Create(w.t.Context(), o))
}

// setStatus creates o and then writes the status that it has.
func (w *world) setStatus(o client.Object) {
	w.t.Helper()
	wanted := o.DeepCopyObject().(client.Object)
	w.create(o)
	w.writeStatus(wanted)
}

// writeStatus replaces the fields of the status of o that are set, whatever others wrote since it was read.
func (w *world) writeStatus(o client.Object) {
	w.t.Helper()
	b, err := json.Marshal(o)
	must(w.t, err)
	var all map[string]json.RawMessage
	must(w.t, json.Unmarshal(b, &all))
	patch, err := json.Marshal(map[string]json.RawMessage{"status": all["status"]})
	must(w.t, err)
	must(w.t, w.client.Status().Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, patch)))
}

// node is a node that stays ready: like a kubelet, it renews its lease.
func (w *world) node(name, zone string, cordoned bool) {
	now := metav1.Now()
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	w.setStatus(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelTopologyZone: zone, corev1.LabelHostname: name}},
		Spec: corev1.NodeSpec{Unschedulable: cordoned},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room,
			Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}},
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: w.kubelet.port}},
		},
	})
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &name, &metav1.MicroTime{Time: now.Time}
	w.create(lease)
	ctx, cancel := context.WithCancel(context.Background())
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				lease.Spec.RenewTime = &metav1.MicroTime{Time: at}
				if err := w.client.Update(ctx, lease); err != nil && ctx.Err() == nil {
					w.t.Errorf("renewing lease of node %q: %v", name, err)
				}
			}
		}
	})
	w.t.Cleanup(func() { cancel(); renewing.Wait() })
}

// service describes an App and what is to become of it.
type service struct {
	namespace, name string
	port            int32
	route           string
	replicas        int32
	schedule        string
	ready           int32
	url             string
	revision        string
	conditions      []metav1.Condition
}

func cond(kind, status, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message, LastTransitionTime: metav1.Now(), ObservedGeneration: 1}
}

func readyConditions(revision string) []metav1.Condition {
	return []metav1.Condition{
		cond(v1alpha1.ConditionReady, "True", "Serving", fmt.Sprintf("Revision %q serves.", revision)),
		cond(v1alpha1.ConditionReconciling, "False", "Settled", ""),
		cond(v1alpha1.ConditionStalled, "False", "Progressing", ""),
	}
}

// app creates an App with its status, and what it renders to.
func (w *world) app(s service) {
	labels := map[string]string{"app.kubernetes.io/name": s.name, "app.kubernetes.io/managed-by": "escale", v1alpha1.LabelApp: s.name}
	a := &v1alpha1.App{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}}
	a.Spec = v1alpha1.AppSpec{Image: "127.0.0.1:5050/" + s.name + "@sha256:4bf1d0c3", Runtime: v1alpha1.RuntimeProcess, Port: s.port, Schedule: s.schedule}
	if s.schedule == "" {
		a.Spec.Replicas = &s.replicas
	}
	if s.route != "" {
		a.Spec.Route = &v1alpha1.Route{Path: s.route}
	}
	a.Status = v1alpha1.AppStatus{ObservedGeneration: 1, Desired: s.replicas, Observed: s.ready, Revision: s.revision, URL: s.url, Conditions: s.conditions}
	w.setStatus(a)
	meta := metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, Labels: labels}
	pods := w.template(labels, s)
	if s.schedule != "" {
		pods.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.create(&batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{Schedule: s.schedule,
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: batchv1.JobSpec{Template: pods}}}})
		return
	}
	w.create(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: &s.replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelApp: s.name}}, Template: pods,
	}})
	if s.route != "" {
		w.route(meta, s)
	}
}

func (w *world) template(labels map[string]string, s service) corev1.PodTemplateSpec {
	with := map[string]string{v1alpha1.LabelRevision: s.revision}
	for k, v := range labels {
		with[k] = v
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: with}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: s.name, Image: "127.0.0.1:5050/" + s.name + "@sha256:4bf1d0c3",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("150m"), corev1.ResourceMemory: resource.MustParse("192Mi")}},
	}}}}
}

func (w *world) route(meta metav1.ObjectMeta, s service) {
	space, exact := gatewayv1.Namespace("escale-system"), gatewayv1.PathMatchPathPrefix
	parent := gatewayv1.ParentReference{Namespace: &space, Name: "escale"}
	r := &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{parent}},
		Rules: []gatewayv1.HTTPRouteRule{{
			Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &exact, Value: &s.route}}},
			BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
				BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(s.name), Port: &s.port}}}},
		}},
	}}
	r.Status.Parents = []gatewayv1.RouteParentStatus{{ParentRef: parent, ControllerName: "escale.dev/gateway",
		Conditions: []metav1.Condition{cond("Accepted", "True", "Accepted", "")}}}
	w.setStatus(r)
}

// pods waits for the pods of an App to be bound and returns them.
func (w *world) pods(namespace, name string, n int) []corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	w.until(fmt.Sprintf("%d pods of %s/%s on nodes", n, namespace, name), func() bool {
		must(w.t, w.client.List(w.t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelApp: name}))
		bound := 0
		for _, p := range list.Items {
			if p.Spec.NodeName != "" && p.DeletionTimestamp == nil {
				bound++
			}
		}
		return bound == n
	})
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// runs writes a pod's status as a kubelet does; container may be nil for one that runs and is ready.
func (w *world) runs(pod corev1.Pod, container *corev1.ContainerStatus) {
	w.t.Helper()
	now := metav1.Now()
	ready := corev1.ConditionFalse
	if container == nil {
		ready = corev1.ConditionTrue
		container = &corev1.ContainerStatus{Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}
	}
	container.Name = pod.Spec.Containers[0].Name
	container.Image = pod.Spec.Containers[0].Image
	container.ContainerID = fmt.Sprintf("escale://%s-%d", pod.Name, container.RestartCount)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.StartTime = &now
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{*container}
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, c := range []corev1.PodConditionType{corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: c, Status: ready, LastTransitionTime: now})
	}
	w.writeStatus(&pod)
}

// event is what a kubelet reports about a pod.
func (w *world) event(pod corev1.Pod, kind, reason, message string, count int32) {
	w.t.Helper()
	now := metav1.Now()
	w.create(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: pod.Name + "."},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           kind, Reason: reason, Message: message, Count: count, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: "kubelet"},
	})
}

// logServer answers the API server's questions for logs as a kubelet does, with the cluster's certificate.
type logServer struct {
	port int32

	mu    sync.Mutex
	lines map[string][]string // by pod, with "-previous" for the container before
	more  chan string         // lines that followers get
}

func newLogServer(t *testing.T) *logServer {
	t.Helper()
	s := &logServer{lines: map[string][]string{}, more: make(chan string)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.serve)
	server := httptest.NewUnstartedServer(mux)
	pki := engine.Dir(filepath.Dir(enginetest.Kubeconfig(t))).PKI()
	server.TLS = &tls.Config{Certificates: []tls.Certificate{servingCertificate(t, pki)}}
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.port = int32(server.Listener.Addr().(*net.TCPAddr).Port)
	return s
}

// servingCertificate is one for loopback, signed by the cluster's authority.
func servingCertificate(t *testing.T, pki string) tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(pki, "ca.crt"), filepath.Join(pki, "ca.key"))
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *logServer) set(name string, lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[name] = lines
}

func (s *logServer) serve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("pod")
	if r.FormValue("previous") == "true" {
		name += "-previous"
	}
	s.mu.Lock()
	lines := s.lines[name]
	s.mu.Unlock()
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	out := http.NewResponseController(w)
	for out.Flush() == nil && r.FormValue("follow") == "true" {
		select {
		case <-r.Context().Done():
			return
		case l := <-s.more:
			fmt.Fprintln(w, l)
		}
	}
}

// logLines are n lines of an application, one each 40 ms.
func logLines(start time.Time, texts ...string) []string {
	var out []string
	for i, text := range texts {
		out = append(out, start.Add(time.Duration(i)*40*time.Millisecond).Format("2006-01-02T15:04:05.000000000Z07:00")+" "+text)
	}
	return out
}

// shop fills the world: apps in every state that a person meets, on three nodes.
func (w *world) shop() {
	for _, name := range []string{"shop", "docs"} {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	w.node("node-a", "a", false)
	w.node("node-b", "b", false)
	w.node("node-c", "c", true)

	rolling := []metav1.Condition{
		cond(v1alpha1.ConditionReady, "False", "RollingOut", `1 of 2 pods of revision "c41a09e7" are ready.`),
		cond(v1alpha1.ConditionReconciling, "True", "RollingOut", "Waiting for the Deployment."),
		cond(v1alpha1.ConditionStalled, "False", "Progressing", ""),
	}
	w.app(service{namespace: "shop", name: "search", port: 8080, route: "/", replicas: 3, ready: 3, revision: "9f27c1aa", url: "http://127.0.0.1:8080/", conditions: readyConditions("9f27c1aa")})
	w.app(service{namespace: "shop", name: "basket", port: 8080, route: "/basket", replicas: 2, ready: 1, revision: "c41a09e7", url: "http://127.0.0.1:8080/basket", conditions: rolling})
	w.app(service{namespace: "shop", name: "payment", port: 8080, route: "/payment", replicas: 2, ready: 1, revision: "5be80d12", url: "http://127.0.0.1:8080/payment", conditions: []metav1.Condition{
		cond(v1alpha1.ConditionReady, "False", "PodsNotReady", "1 of 2 pods are ready."),
		cond(v1alpha1.ConditionReconciling, "False", "Settled", ""),
		cond(v1alpha1.ConditionStalled, "True", "PodFails", `pod "payment-5be8" exits with code 1 right after its start: "variable PROVIDER_URL is not set"`),
	}})
	w.app(service{namespace: "shop", name: "fulfilment-worker", replicas: 1, ready: 1, revision: "07d6b3f0", conditions: readyConditions("07d6b3f0")})
	w.app(service{namespace: "shop", name: "postgres", port: 5432, replicas: 1, ready: 1, revision: "e2c94511", conditions: readyConditions("e2c94511")})
	w.app(service{namespace: "shop", name: "daily-report", schedule: "0 6 * * *", revision: "3c1f77b8", conditions: readyConditions("3c1f77b8")})
	w.app(service{namespace: "docs", name: "handbook", port: 8080, route: "/handbook", replicas: 0, revision: "aa10fe93", url: "http://127.0.0.1:8080/handbook", conditions: readyConditions("aa10fe93")})
	w.app(service{namespace: "docs", name: "preview", port: 8080, replicas: 1, revision: "66d2c0de", conditions: []metav1.Condition{
		cond(v1alpha1.ConditionReady, "False", "PodsNotReady", "0 of 1 pods are ready."), cond(v1alpha1.ConditionReconciling, "True", "RollingOut", "Waiting for the Deployment."),
	}})
	w.start()
	w.records()
}

// start gives the pods their states and logs.
func (w *world) start() {
	for name, n := range map[string]int{"search": 3, "fulfilment-worker": 1, "postgres": 1} {
		for _, p := range w.pods("shop", name, n) {
			w.runs(p, nil)
		}
	}
	basket := w.pods("shop", "basket", 2)
	w.runs(basket[0], nil)
	w.runs(basket[1], &corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}})

	payment := w.pods("shop", "payment", 2)
	w.runs(payment[0], nil)
	now := metav1.Now()
	w.runs(payment[1], &corev1.ContainerStatus{RestartCount: 4,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: now, FinishedAt: now}}})
	w.event(payment[1], corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container payment in pod "+payment[1].Name, 11)
	w.event(payment[1], corev1.EventTypeNormal, "Pulled", "Container image \"127.0.0.1:5050/payment@sha256:4bf1d0c3\" already present on machine", 5)

	preview := w.pods("docs", "preview", 1)
	w.runs(preview[0], &corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "ImagePullBackOff", Message: `the registry 127.0.0.1:5050 has no image "preview@sha256:4bf1d0c3"`}}})
	w.logs(payment)
}

func (w *world) logs(payment []corev1.Pod) {
	at := time.Now().Add(-time.Minute)
	var calm []string
	for i := range 60 {
		calm = append(calm, fmt.Sprintf(`{"level":"info","msg":"payment accepted","order":%d,"amount":"%d.90 EUR","took":"%dms"}`, 48213+i, 12+i%40, 8+i%7))
	}
	w.kubelet.set(payment[0].Name, logLines(at, calm...)...)
	w.kubelet.set(payment[1].Name, logLines(at, "starting payment 1.8.2", "\x1b[31mreading configuration: variable PROVIDER_URL is not set\x1b[0m")...)
	w.kubelet.set(payment[1].Name+"-previous", logLines(at.Add(-time.Minute), "starting payment 1.8.2 (before)", "reading configuration: variable PROVIDER_URL is not set")...)
}

func (w *world) records() {
	now := time.Now()
	ms := time.Millisecond
	app := func(name string) timeline.Object {
		return timeline.Object{Kind: "App", Namespace: "shop", Name: name}
	}
	for _, r := range []timeline.Record{
		{Time: now.Add(-52 * time.Minute), Actor: "supervisor", Action: "started", Object: timeline.Object{Kind: "Node", Name: "node-a"}, Stages: []timeline.Stage{{Name: "process", Duration: 410 * ms}, {Name: "registered", Duration: 890 * ms}, {Name: "ready", Duration: 2100 * ms}}},
		{Time: now.Add(-50 * time.Minute), Actor: "release", Action: "rolled out", Object: app("search"), To: "revision 9f27c1aa", Reason: "The first revision.", Stages: []timeline.Stage{{Name: "rendered", Duration: 3 * ms}, {Name: "bound", Duration: 38 * ms}, {Name: "started", Duration: 214 * ms}, {Name: "ready", Duration: 1180 * ms}, {Name: "answered", Duration: 41 * ms}}},
		{Time: now.Add(-24 * time.Minute), Actor: "scale", Action: "scaled", Object: app("search"), From: "2 pods", To: "3 pods", Reason: "240 requests in flight, 100 per pod.", Stages: []timeline.Stage{{Name: "decided", Duration: 2 * ms}, {Name: "bound", Duration: 31 * ms}, {Name: "ready", Duration: 940 * ms}}},
		{Time: now.Add(-7 * time.Minute), Actor: "supervisor", Action: "restarted", Object: timeline.Object{Kind: "Node", Name: "node-b"}, Reason: "Its process ended with signal 9.", Stages: []timeline.Stage{{Name: "noticed", Duration: 4 * ms}, {Name: "ready", Duration: 3200 * ms}}},
		{Time: now.Add(-3 * time.Minute), Actor: "release", Action: "stalled", Object: app("payment"), From: "revision 1d9907c2", To: "revision 5be80d12", Reason: strings.Repeat("Pod exits with code 1 right after its start. ", 1)},
		{Time: now.Add(-20 * time.Second), Actor: "release", Action: "began to roll out", Object: app("basket"), From: "revision 80b1e5d4", To: "revision c41a09e7", Reason: "A new image was deployed."},
	} {
		w.timeline.Add(r)
	}
}
