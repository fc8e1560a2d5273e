package alone

import (
	"bytes"
	"context"
	"errors"
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
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// cluster is an API server with what `escale gateway manifest` prints.
type cluster struct {
	t      *testing.T
	config *rest.Config // with the rights of the gateway's service account
	client client.Client
}

const namespace = "escale-gateway"

func startCluster(t *testing.T) *cluster {
	t.Helper()
	admin := enginetest.Start(t)
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, config: rest.CopyConfig(admin)}
	c.config.Impersonate.UserName = "system:serviceaccount:" + namespace + ":escale-gateway"
	c.config.Impersonate.Groups = []string{"system:serviceaccounts", "system:authenticated"}
	if c.client, err = client.New(admin, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&manifestOptions{Image: "escale:test", Namespace: namespace, Replicas: 2}).write(&out); err != nil {
		t.Fatal(err)
	}
	c.apply(out.String())
	return c
}

// apply creates the objects of a file.
func (c *cluster) apply(documents string) {
	c.t.Helper()
	in := yaml.NewYAMLOrJSONDecoder(strings.NewReader(documents), 4096)
	for {
		var o unstructured.Unstructured
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if err := c.client.Create(c.t.Context(), &o); err != nil && !apierrors.IsAlreadyExists(err) {
			c.t.Fatalf("creating %s %q: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// member is a gateway that runs.
type member struct {
	health string
	stop   context.CancelFunc
	ended  chan error
}

func (c *cluster) start(name string, drain time.Duration) *member {
	c.t.Helper()
	health, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{health: health.Addr().String(), stop: stop, ended: make(chan error, 1)}
	go func() {
		m.ended <- Run(ctx, Config{
			Cluster: c.config, Address: net.IPv4(127, 0, 0, 1), Health: health, Namespace: namespace, Name: name, Drain: drain,
			Log: slog.New(slog.DiscardHandler),
		})
	}()
	return m
}

func get(address, path, host string) (*http.Response, string) {
	r, err := http.NewRequest("GET", "http://"+address+path, nil)
	if err != nil {
		return nil, err.Error()
	}
	r.Host = host
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, fmt.Sprint(string(b), errors.Unwrap(err))
}

func (c *cluster) eventually(what string, cond func() bool) {
	c.t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 5*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return cond(), nil })
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", what, err)
	}
}

func (c *cluster) accepted(name string) bool {
	var r gatewayv1.HTTPRoute
	err := c.client.Get(context.Background(), client.ObjectKey{Namespace: "default", Name: name}, &r)
	return err == nil && len(r.Status.Parents) == 1 && meta.IsStatusConditionTrue(r.Status.Parents[0].Conditions, "Accepted")
}

// backend makes a Service "web" whose endpoint is a server of this process.
func (c *cluster) backend() {
	c.t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		c.t.Fatal(err)
	}
	ip := ""
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			ip = n.IP.String()
		}
	}
	if ip == "" {
		c.t.Skip("the machine has no IPv4 address but loopback, and EndpointSlices refuse that")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		c.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "web") }))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	c.t.Cleanup(server.Close)
	for _, o := range []client.Object{
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(l.Addr().(*net.TCPAddr).Port))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ip}}},
		},
	} {
		if err := c.client.Create(c.t.Context(), o); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = c.client.Delete(context.Background(), o) })
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

const gatewayAndRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec: {gatewayClassName: escale, listeners: [{name: http, port: PORT, protocol: HTTP}]}
---
` + routeText

const routeText = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: first, namespace: default}
spec: {parentRefs: [{name: edge}], hostnames: [first.test], rules: [{backendRefs: [{name: web, port: 80}]}]}
`

// With the rights the manifest gives, and no others.
func TestGatewaysAlone(t *testing.T) {
	c := startCluster(t)
	c.backend()
	port := freePort(t)
	requests := "127.0.0.1:" + port
	c.apply(strings.ReplaceAll(gatewayAndRoute, "PORT", port))
	a := c.start("a", 0)
	c.eventually("the first gateway to be ready", func() bool {
		res, _ := get(a.health, "/readyz", "")
		return res != nil && res.StatusCode == 200
	})
	c.eventually("the route to be accepted", func() bool { return c.accepted("first") })
	if res, body := get(requests, "/", "first.test"); res == nil || res.StatusCode != 200 || !strings.HasPrefix(body, "web") {
		t.Errorf("got %v %q", res, body)
	}
	if _, body := get(a.health, "/metrics", ""); !strings.Contains(body, `escale_gateway_requests_total{backend="default/web:80",code="2xx",route="default/first"} 1`) {
		t.Errorf("metrics: %s", body)
	}

	// A second one serves and writes statuses when the first is gone. On a cluster it has the port of its own pod; here
	// it has to wait for it.
	b := c.start("b", 300*time.Millisecond)
	c.eventually("the second gateway to wait for its port", func() bool {
		_, body := get(b.health, "/readyz", "")
		return strings.Contains(body, "no port of a listener could be opened")
	})
	a.stop()
	if err := <-a.ended; err != nil {
		t.Errorf("the first gateway ended with: %v", err)
	}
	c.eventually("the second gateway to answer", func() bool {
		res, _ := get(requests, "/", "first.test")
		return res != nil && res.StatusCode == 200
	})
	if res, body := get(b.health, "/readyz", ""); res == nil || res.StatusCode != 200 {
		t.Errorf("a gateway that answers is not ready: %v %q", res, body)
	}
	c.apply(strings.ReplaceAll(routeText, "first", "second"))
	c.eventually("the second gateway to write statuses", func() bool { return c.accepted("second") })

	// While it drains it answers, tells clients to go, and is not ready.
	b.stop()
	c.eventually("the second gateway to drain", func() bool {
		res, _ := get(b.health, "/readyz", "")
		return res != nil && res.StatusCode == 503
	})
	if res, body := get(requests, "/", "second.test"); res == nil || res.StatusCode != 200 || !res.Close {
		t.Errorf("while draining: %v %q, want 200 and the connection to be closed", res, body)
	}
	if err := <-b.ended; err != nil {
		t.Errorf("the second gateway ended with: %v", err)
	}
}

func TestManifest(t *testing.T) {
	var out bytes.Buffer
	if err := (&manifestOptions{Image: "example.com/escale:1", Namespace: "edge", Replicas: 3}).write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"image: example.com/escale:1", "namespace: edge", "replicas: 3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(out.String(), "*") {
		t.Error("a right to everything")
	}
}

func TestClusterNeedsAKubeconfigOutsideOfAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Cluster(""); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("got %v", err)
	}
}
