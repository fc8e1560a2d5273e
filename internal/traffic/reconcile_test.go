package traffic

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// story is a gateway on a real API server, with a class and a namespace of its own.
type story struct {
	t         testing.TB
	config    *rest.Config
	scheme    *kruntime.Scheme
	client    client.Client
	namespace string
	timeline  *timeline.Timeline
	address   string
}

func startStory(t testing.TB) *story {
	t.Helper()
	s := &story{t: t, config: enginetest.Start(t), scheme: kruntime.NewScheme()}
	for _, add := range []func(*kruntime.Scheme) error{clientscheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install} {
		utilruntime.Must(add(s.scheme))
	}
	var err error
	if s.client, err = client.New(s.config, client.Options{Scheme: s.scheme}); err != nil {
		t.Fatal(err)
	}
	if s.timeline, err = timeline.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.timeline.Close() })
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "traffic-"}}
	s.create(ns)
	s.namespace = ns.Name
	s.create(new(read[gatewayv1.GatewayClass](t, "metadata: {name: "+s.namespace+"}\nspec: {controllerName: escale.dev/gateway}")))
	s.create(new(read[gatewayv1.Gateway](t, `
metadata: {name: edge, namespace: `+s.namespace+`}
spec:
  gatewayClassName: `+s.namespace+`
  listeners: [{name: http, port: 8080, protocol: HTTP}]
`)))
	return s
}

// run starts a gateway; the function it returns stops it and waits.
func (s *story) run() (stop func()) {
	s.t.Helper()
	m, err := ctrl.NewManager(s.config, manager.Options{
		Scheme: s.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard(),
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	if _, err := Setup(Deps{Manager: m, Listener: l, Timeline: s.timeline, Log: slog.New(slog.DiscardHandler)}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- m.Start(ctx) }()
	return func() {
		cancel()
		if err := <-stopped; err != nil {
			s.t.Errorf("the manager stopped with: %v", err)
		}
	}
}

func (s *story) create(o client.Object) {
	s.t.Helper()
	if err := s.client.Create(context.Background(), o); err != nil {
		s.t.Fatalf("creating %T %q: %v", o, o.GetName(), err)
	}
	s.t.Cleanup(func() { _ = s.client.Delete(context.Background(), o) })
}

// service creates a Service whose only endpoint is at address, and returns its slice.
func (s *story) service(namespace, name, address string) *discoveryv1.EndpointSlice {
	s.t.Helper()
	s.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	})
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	pointTo(slice, address)
	s.create(slice)
	return slice
}

func pointTo(slice *discoveryv1.EndpointSlice, address string) {
	a, _ := net.ResolveTCPAddr("tcp", address)
	port := int32(a.Port)
	slice.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: &port}}
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{a.IP.String()}}}
}

// machineBackend answers with its name at an address that is not loopback, because EndpointSlices refuse that.
func machineBackend(t testing.TB, name string) string {
	t.Helper()
	ip := machineAddress(t)
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) }))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return l.Addr().String()
}

func machineAddress(t testing.TB) string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("the machine has no IPv4 address but loopback, and EndpointSlices refuse that")
	return ""
}

func (s *story) route(name, host, backend string) *gatewayv1.HTTPRoute {
	return new(read[gatewayv1.HTTPRoute](s.t, `
metadata: {name: `+name+`, namespace: `+s.namespace+`}
spec:
  parentRefs: [{name: edge}]
  hostnames: [`+host+`]
  rules: [{backendRefs: [{`+backend+`, port: 80}]}]
`))
}

func (s *story) get(host string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", "http://"+s.address+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = host
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// eventually waits for a state of the cluster.
func (s *story) eventually(what string, cond func() bool) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 2*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return cond(), nil })
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", what, err)
	}
}

// condition returns a condition that this gateway wrote for a route, as Compile's tests write it.
func (s *story) condition(name, kind string) string {
	var r gatewayv1.HTTPRoute
	if err := s.client.Get(context.Background(), client.ObjectKey{Namespace: s.namespace, Name: name}, &r); err != nil {
		return err.Error()
	}
	for _, p := range r.Status.Parents {
		if c := meta.FindStatusCondition(p.Conditions, kind); p.ControllerName == ControllerName && c != nil && c.ObservedGeneration == r.Generation {
			return short(*c)
		}
	}
	return "none"
}

func (s *story) expect(code int, body, host string) {
	s.t.Helper()
	if gotCode, gotBody := s.get(host); gotCode != code || !strings.Contains(gotBody, body) {
		s.t.Errorf("host %q: got %d %q, want %d with %q", host, gotCode, gotBody, code, body)
	}
}

func TestLifeOfARoute(t *testing.T) {
	s := startStory(t)
	stop := s.run()
	slice := s.service(s.namespace, "web", machineBackend(t, "first"))
	key := client.ObjectKey{Namespace: s.namespace, Name: "edge"}
	s.eventually("the Gateway to be programmed", func() bool {
		var g gatewayv1.Gateway
		err := s.client.Get(t.Context(), key, &g)
		return err == nil && meta.IsStatusConditionTrue(g.Status.Conditions, "Programmed") &&
			len(g.Status.Addresses) == 1 && g.Status.Addresses[0].Value == "127.0.0.1"
	})

	route := s.route("r", "a.test", "name: web")
	s.create(route)
	s.eventually("the route to be accepted", func() bool { return s.condition("r", "Accepted") == "Accepted=True/Accepted" })
	s.expect(200, "first", "a.test") // at once: accepted means served
	records := s.timeline.List(timeline.Filter{Kind: "HTTPRoute", Namespace: s.namespace})
	s.eventually("the timeline to say so", func() bool {
		records = s.timeline.List(timeline.Filter{Kind: "HTTPRoute", Namespace: s.namespace})
		return len(records) > 0
	})
	if len(records) != 1 || records[0].Action != "accepted" || records[0].Object.Name != "r" {
		t.Errorf("timeline: %+v", records)
	}

	pointTo(slice, machineBackend(t, "second"))
	if err := s.client.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	s.eventually("the new endpoint", func() bool { _, body := s.get("a.test"); return body == "second" })

	stop()
	defer s.run()()
	s.expect(200, "second", "a.test") // a new process, without memory, holds the request until it knows

	if err := s.client.Delete(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	s.eventually("the route to go", func() bool { code, _ := s.get("a.test"); return code == 404 })
}

func TestGrantIsFollowed(t *testing.T) {
	s := startStory(t)
	defer s.run()()
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "traffic-other-"}}
	s.create(other)
	s.service(other.Name, "web", machineBackend(t, "granted"))
	s.create(s.route("r", "grant.test", "name: web, namespace: "+other.Name))
	s.eventually("the reference to be refused", func() bool {
		return s.condition("r", "ResolvedRefs") == "ResolvedRefs=False/RefNotPermitted"
	})
	s.expect(500, "no ReferenceGrant", "grant.test")
	s.create(new(read[gatewayv1beta1.ReferenceGrant](t, `
metadata: {name: routes, namespace: `+other.Name+`}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: `+s.namespace+`}]
  to: [{group: "", kind: Service}]
`)))
	s.eventually("the reference to be granted", func() bool {
		return s.condition("r", "ResolvedRefs") == "ResolvedRefs=True/ResolvedRefs"
	})
	s.expect(200, "granted", "grant.test")
}

func TestStatusOfOthersIsKept(t *testing.T) {
	s := startStory(t)
	route := s.route("r", "kept.test", "name: missing")
	s.create(route)
	route.Status.Parents = []gatewayv1.RouteParentStatus{{
		ParentRef: gatewayv1.ParentReference{Name: "theirs"}, ControllerName: "example.com/other",
		Conditions: []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", LastTransitionTime: metav1.Now()}},
	}}
	if err := s.client.Status().Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	defer s.run()()
	s.eventually("the status", func() bool {
		return s.condition("r", "ResolvedRefs") == "ResolvedRefs=False/BackendNotFound"
	})
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(route), route); err != nil {
		t.Fatal(err)
	}
	if p := route.Status.Parents; len(p) != 2 || p[0].ControllerName != "example.com/other" {
		t.Errorf("parents: %+v", p)
	}
}

// BenchmarkRouteServed measures the time from the creation of a route to its first answer.
func BenchmarkRouteServed(b *testing.B) {
	s := startStory(b)
	defer s.run()()
	s.service(s.namespace, "web", machineBackend(b, "ok"))
	for i := 0; b.Loop(); i++ {
		host := fmt.Sprintf("h%d.test", i)
		s.create(s.route(fmt.Sprintf("r%d", i), host, "name: web"))
		s.eventually("the route", func() bool { code, _ := s.get(host); return code == 200 })
	}
}
