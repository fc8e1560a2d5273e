package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network"
	"github.com/escale-dev/escale/internal/engine/network/networktest"
)

func TestMain(m *testing.M) { networktest.Main(m) }

// cluster is a running proxy, and the API it watches. The API is client-go's in-memory one: the proxy's own work is in
// the kernel, which is real.
type cluster struct {
	t    *testing.T
	api  *fake.Clientset
	host *network.Host
	stop func()
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	networktest.Need(t)
	plan, err := engine.NewNetwork(engine.DefaultNetwork)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	host, err := network.Setup(plan, log)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, api: fake.NewClientset(), host: host}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, c.api, plan, log) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		c.stop()
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// backend answers with its name on an address.
func (c *cluster) backend(name, addr string) {
	c.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = l.Close() })
	c.answer(name, l)
}

// answer says its name and who asks on each connection.
func (c *cluster) answer(name string, l net.Listener) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprint(conn, name, " ", host)
			conn.Close()
		}
	}()
}

func (c *cluster) service(spec corev1.ServiceSpec) {
	c.t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api"}, Spec: spec}
	if _, err := c.api.CoreV1().Services("shop").Create(c.t.Context(), s, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func port(number, nodePort int32) corev1.ServicePort {
	return corev1.ServicePort{Port: number, NodePort: nodePort, Protocol: corev1.ProtocolTCP}
}

// endpoints puts the Service's endpoints where the map says: address to node.
func (c *cluster) endpoints(number int32, where map[string]string) {
	c.t.Helper()
	protocol, ready, zone := corev1.ProtocolTCP, true, "a"
	slice := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "api-1", Labels: map[string]string{discovery.LabelServiceName: "api"}},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Name: new(""), Port: &number, Protocol: &protocol}},
	}
	for addr, node := range where {
		slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{
			Addresses: []string{addr}, NodeName: &node, Zone: &zone, Conditions: discovery.EndpointConditions{Ready: &ready},
			Hints: &discovery.EndpointHints{ForZones: []discovery.ForZone{{Name: node}}, ForNodes: []discovery.ForNode{{Name: node}}},
		})
	}
	api := c.api.DiscoveryV1().EndpointSlices("shop")
	_, err := api.Update(c.t.Context(), slice, metav1.UpdateOptions{})
	if err != nil {
		_, err = api.Create(c.t.Context(), slice, metav1.CreateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func ask(addr string) (string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	b, err := io.ReadAll(conn)
	return string(b), err
}

// eventually asks until the answer begins with want, and returns it.
func (c *cluster) eventually(addr, want string) string {
	c.t.Helper()
	begun := time.Now()
	for {
		got, err := ask(addr)
		if err == nil && strings.HasPrefix(got, want) {
			c.t.Logf("%s answered as %q after %s", addr, want, time.Since(begun).Round(time.Millisecond))
			return got
		}
		if time.Since(begun) > 20*time.Second {
			c.t.Fatalf("%s answers %q (%v), want %q", addr, got, err, want)
		}
	}
}

func TestServiceAddress(t *testing.T) {
	c := startCluster(t)
	c.backend("one", "10.42.0.1:8001")
	c.service(corev1.ServiceSpec{ClusterIP: "10.43.1.1", Ports: []corev1.ServicePort{port(80, 0)}})
	if _, err := ask("10.43.1.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without endpoints: %v, want %v at once", err, syscall.ECONNREFUSED)
	}
	c.endpoints(8001, map[string]string{"10.42.0.1": "node-a"})
	if got := c.eventually("10.43.1.1:80", "one"); got != "one 10.42.0.1" {
		t.Errorf("got %q, want it to come from the platform's address", got)
	}
	if _, err := ask("10.43.1.1:81"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port the Service has not: %v, want %v", err, syscall.ECONNREFUSED)
	}

	if err := c.host.AddNode(netip.MustParseAddr("10.42.4.1")); err != nil {
		t.Fatal(err)
	}
	c.backend("two", "10.42.4.1:8001")
	c.endpoints(8001, map[string]string{"10.42.4.1": "node-b"})
	c.eventually("10.43.1.1:80", "two")
	c.endpoints(8001, nil)
	for {
		if _, err := ask("10.43.1.1:80"); errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
}

func TestPoliciesThatNeedNodes(t *testing.T) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	near := corev1.ServiceTrafficDistributionPreferSameZone
	for name, spec := range map[string]corev1.ServiceSpec{
		"internalTrafficPolicy Local selects endpoints of all nodes": {InternalTrafficPolicy: &local},
		"trafficDistribution spreads over all zones":                 {TrafficDistribution: &near},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t)
			if err := c.host.AddNode(netip.MustParseAddr("10.42.4.1")); err != nil {
				t.Fatal(err)
			}
			c.backend("one", "10.42.0.1:8001")
			c.backend("two", "10.42.4.1:8001")
			spec.ClusterIP, spec.Ports = "10.43.1.2", []corev1.ServicePort{port(80, 0)}
			c.service(spec)
			c.endpoints(8001, map[string]string{"10.42.0.1": "node-a", "10.42.4.1": "node-b"})
			c.eventually("10.43.1.2:80", "one")
			c.eventually("10.43.1.2:80", "two")
		})
	}
}

func TestAPodReachesItselfThroughItsService(t *testing.T) {
	c := startCluster(t)
	node := netip.MustParseAddr("10.42.4.1")
	if err := c.host.AddNode(node); err != nil {
		t.Fatal(err)
	}
	pod := networktest.Pod(t, "a", netip.MustParseAddr("10.42.4.8"), node, netip.MustParseAddr("10.42.0.1"))
	c.answer("itself", pod.Listen("10.42.4.8:8001"))
	c.service(corev1.ServiceSpec{ClusterIP: "10.43.1.6", Ports: []corev1.ServicePort{port(80, 0)}})
	c.endpoints(8001, map[string]string{"10.42.4.8": "node-a"})
	c.eventually("10.43.1.6:80", "itself")
	if !pod.Answers("10.43.1.6:80") {
		t.Error("the pod's own Service does not answer it")
	}
	other := networktest.Pod(t, "b", netip.MustParseAddr("10.42.4.9"), node, netip.MustParseAddr("10.42.0.1"))
	var got string
	err := other.Do(func() (err error) { got, err = ask("10.43.1.6:80"); return err })
	if err != nil || got != "itself 10.42.4.9" {
		t.Errorf("another pod gets %q (%v), want it to be seen by its own address", got, err)
	}
}

func TestNodePort(t *testing.T) {
	c := startCluster(t)
	c.backend("one", "10.42.0.1:8001")
	external := corev1.ServiceExternalTrafficPolicyLocal
	c.service(corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: external, HealthCheckNodePort: 31999,
		ClusterIP: "10.43.1.3", Ports: []corev1.ServicePort{port(80, 30080)},
	})
	c.endpoints(8001, map[string]string{"10.42.0.1": "node-a"})
	c.eventually("10.42.0.1:30080", "one")
	if err := c.host.AddNode(netip.MustParseAddr("10.42.4.1")); err != nil {
		t.Fatal(err)
	}
	c.eventually("10.42.4.1:30080", "one")
	if got, err := ask("127.0.0.1:30080"); err == nil {
		t.Errorf("the loopback address answers %q", got)
	}
}

func TestRulesComeBackAfterSomeoneFlushedThem(t *testing.T) {
	c := startCluster(t)
	c.backend("one", "10.42.0.1:8001")
	c.service(corev1.ServiceSpec{ClusterIP: "10.43.1.4", Ports: []corev1.ServicePort{port(80, 0)}})
	c.endpoints(8001, map[string]string{"10.42.0.1": "node-a"})
	c.eventually("10.43.1.4:80", "one")
	nft(t, "delete", "table", "ip", "kube-proxy")
	// The next change finds the table gone and fails; what follows it repairs.
	c.backend("two", "10.42.0.1:8002")
	c.endpoints(8002, map[string]string{"10.42.0.1": "node-a"})
	c.eventually("10.43.1.4:80", "two")
}

func TestRunRemovesItsRules(t *testing.T) {
	c := startCluster(t)
	c.service(corev1.ServiceSpec{ClusterIP: "10.43.1.5", Ports: []corev1.ServicePort{port(80, 0)}})
	for !strings.Contains(nft(t, "list", "tables"), "kube-proxy") {
	}
	c.stop()
	if tables := nft(t, "list", "tables"); strings.Contains(tables, "kube-proxy") {
		t.Errorf("tables left: %s", tables)
	}
}

func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	return string(out)
}

func TestOnOneNodeLeavesTheOriginalAlone(t *testing.T) {
	node := "node-a"
	slice := &discovery.EndpointSlice{Endpoints: []discovery.Endpoint{{NodeName: &node}, {}}}
	moved := onOneNode(slice)
	if *moved.Endpoints[0].NodeName != nodeName || moved.Endpoints[1].NodeName != nil {
		t.Errorf("moved to %v", moved.Endpoints)
	}
	if *slice.Endpoints[0].NodeName != "node-a" {
		t.Error("the cached object changed")
	}
}
