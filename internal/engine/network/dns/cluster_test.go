package dns

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/escale-dev/escale/internal/engine/enginetest"
)

// TestServices resolves names of a real cluster the way a pod does, through a node's cache.
func TestServices(t *testing.T) {
	addresses(t)
	kubeconfig := enginetest.Kubeconfig(t)
	client, err := kubernetes.NewForConfig(enginetest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	startOutside(t, "127.0.0.9")
	conf := resolvConf(t, "127.0.0.9")
	background(t, func(ctx context.Context) error {
		return RunCluster(ctx, ClusterConfig{Address: netip.MustParseAddr("10.42.0.1"), Kubeconfig: kubeconfig, ResolvConf: conf})
	})
	answering(t, clusterAddress)
	startNode(t, clusterAddress)
	resolve := func(name string) string { return address(ask(t, nodeAddress, "udp", name, dns.TypeA)) }

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Asked for too early: this is remembered for a moment.
	for _, name := range []string{"api.shop", "api.shop.svc", "api.shop.svc.cluster.local"} {
		if got := resolve(name); got != "NXDOMAIN" {
			t.Errorf("%s before the Service exists: %s, want NXDOMAIN", name, got)
		}
	}
	api := createService(t, client, "api", "")
	begun := time.Now()
	for _, name := range []string{"api.shop.svc.cluster.local", "api.shop", "API.shop", "api.shop.svc"} {
		for resolve(name) != api && time.Since(begun) < 20*time.Second {
		}
		if got := resolve(name); got != api {
			t.Errorf("%s: %s, want %s", name, got, api)
		}
	}
	t.Logf("a Service asked for too early was found %s after its creation", time.Since(begun).Round(time.Millisecond))

	createService(t, client, "db", corev1.ClusterIPNone)
	createEndpoint(t, client, "db", "db-0", "10.42.4.33")
	for _, name := range []string{"db.shop", "db-0.db.shop", "db-0.db.shop.svc", "db-0.db.shop.svc.cluster.local"} {
		for begun := time.Now(); resolve(name) != "10.42.4.33" && time.Since(begun) < 20*time.Second; {
		}
		if got := resolve(name); got != "10.42.4.33" {
			t.Errorf("%s: %s, want 10.42.4.33", name, got)
		}
	}
	t.Run("a name without an address of the other family exists", func(t *testing.T) {
		m := ask(t, nodeAddress, "udp", "api.shop", dns.TypeAAAA)
		if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 {
			t.Errorf("got %s", m)
		}
	})
	t.Run("the answer bears the name that was asked", func(t *testing.T) {
		m := ask(t, nodeAddress, "udp", "Api.Shop", dns.TypeA)
		// A cached answer has the letters of who asked first, which resolver libraries compare without case.
		if len(m.Answer) != 1 || !strings.EqualFold(m.Answer[0].Header().Name, "api.shop.") || m.Question[0].Name != "Api.Shop." {
			t.Errorf("got %s", m)
		}
	})
	t.Run("the outside", func(t *testing.T) {
		if got := resolve("www.example.com"); got != "192.0.2.80" {
			t.Errorf("got %s", got)
		}
		if got := resolve("nothing.shop"); got != "NXDOMAIN" {
			t.Errorf("got %s", got)
		}
	})
}

// createService makes a Service in namespace shop and returns its address.
func createService(t *testing.T, client kubernetes.Interface, name, address string) string {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: address, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	s, err := client.CoreV1().Services("shop").Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.ClusterIP
}

func createEndpoint(t *testing.T, client kubernetes.Interface, service, host, addr string) {
	t.Helper()
	slice := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-1", Labels: map[string]string{discovery.LabelServiceName: service}},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints:   []discovery.Endpoint{{Addresses: []string{addr}, Hostname: &host, Conditions: discovery.EndpointConditions{Ready: new(true)}}},
		Ports:       []discovery.EndpointPort{{Port: new(int32(80))}},
	}
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
