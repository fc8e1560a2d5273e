package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd"
	"github.com/escale-dev/escale/internal/engine/runtime/containerd/containerdtest"
)

// realNode in the environment makes the test binary run a real node instead of a pretended one.
const realNode = "ESCALE_TEST_REAL_NODE"

// runRealNode is `escale node run`.
func runRealNode(config string) int {
	c, err := ReadConfig(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// testNode runs one real node, the index-th of its network, against a real API server. It returns a client, the node's
// supervisor and its name.
func testNode(t *testing.T, index int, socket string) (kubernetes.Interface, *Supervisor, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a real node")
	}
	if os.Geteuid() != 0 {
		t.Skip("a node on the machine's network needs root")
	}
	client, err := kubernetes.NewForConfig(enginetest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	network, err := engine.NewNetwork("10.88.0.0/15")
	if err != nil {
		t.Fatal(err)
	}
	planned, err := Plan(network, nil, index+1)
	if err != nil {
		t.Fatal(err)
	}
	c := planned[index]
	c.PlatformAddress = network.Host().String()
	c.DNSUpstream = net.JoinHostPort(c.PlatformAddress, "53")
	addAddress(t, c.Address)
	addAddress(t, c.PlatformAddress)
	dir := engine.Dir(t.TempDir())
	c.Images = dir.Images()
	c.Kubeconfig = enginetest.Kubeconfig(t)
	c.CPUMillis, c.MemoryBytes = 700, 1<<30
	c.ServingCert, c.ServingKey = selfSigned(t, c.Address)
	c.ClientCA = c.ServingCert
	c.ContainerdSocket = socket
	processClass(t, client)

	t.Setenv(realNode, "1")
	s := NewSupervisor(SupervisorConfig{Executable: os.Args[0], Dir: dir, Event: func(node, event, reason string) {
		t.Logf("%s %s: %s", node, event, reason)
		if event == EventStopped && reason != "exit status 0" {
			t.Errorf("%s did not stop as it should: %s", node, reason)
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if mounts, err := mountsBelow(string(dir)); err != nil || len(mounts) > 0 {
			t.Errorf("the node left mounts %v, %v", mounts, err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(logPath(dir.Node(c.Name)))
			t.Logf("the node's log:\n%s", log)
		}
	})
	if err := s.Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return client, s, c.Name
}

// addAddress gives the machine an address for the time of the test.
func addAddress(t *testing.T, address string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(lo, a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.AddrDel(lo, a); err != nil {
			t.Error(err)
		}
	})
}

func selfSigned(t *testing.T, address string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func processClass(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	_, err := client.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.RuntimeClassProcess},
		Handler:    v1alpha1.RuntimeClassProcess,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func waitNode(t *testing.T, client kubernetes.Interface, name string) *corev1.Node {
	t.Helper()
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", name))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		n, ok := e.Object.(*corev1.Node)
		return ok && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}), nil
	})
	if err != nil {
		t.Fatalf("waiting for node %q: %v", name, err)
	}
	return e.Object.(*corev1.Node)
}

// waitPod waits until done says so of the pod.
func waitPod(t *testing.T, client kubernetes.Interface, pod *corev1.Pod, what string, done func(watch.Event, *corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "pods", pod.Namespace, fields.OneTermEqualSelector("metadata.name", pod.Name))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last *corev1.Pod
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if ok {
			last = p
		}
		return ok && done(e, p), nil
	})
	if err != nil {
		t.Fatalf("waiting for pod %q to be %s: %v; its status is %+v", pod.Name, what, err, last)
	}
	return last
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func createPod(t *testing.T, client kubernetes.Interface, node, name string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	class, second := v1alpha1.RuntimeClassProcess, int64(1)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName: node, RuntimeClassName: &class, TerminationGracePeriodSeconds: &second,
			Containers: []corev1.Container{{Name: "main", Image: v1alpha1.HostImage, Command: []string{"sleep", "1000"}}},
		},
	}
	if change != nil {
		change(pod)
	}
	pod, err := client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// TestNode runs pods on a real node.
func TestNode(t *testing.T) {
	client, s, name := testNode(t, 0, filepath.Join(t.TempDir(), "none.sock"))
	n := waitNode(t, client, name)
	if zone := n.Labels[corev1.LabelTopologyZone]; zone != "a" {
		t.Errorf("the node is in zone %q, want a", zone)
	}
	if cpu, memory := n.Status.Allocatable.Cpu().MilliValue(), n.Status.Allocatable.Memory().Value(); cpu != 700 || memory != 1<<30 {
		t.Errorf("the node offers %dm and %d bytes, want its share", cpu, memory)
	}
	awaitServiceAccount(t, client)

	t.Run("a pod starts with its volumes and ends", func(t *testing.T) {
		began := time.Now()
		pod := createPod(t, client, name, "sleeper", nil)
		running := waitPod(t, client, pod, "ready", func(_ watch.Event, p *corev1.Pod) bool { return ready(p) })
		t.Logf("ready after %s", time.Since(began))
		if len(running.Spec.Volumes) != 1 || running.Status.PodIP == "" {
			t.Errorf("the pod has %d volumes and address %q", len(running.Spec.Volumes), running.Status.PodIP)
		}
		began = time.Now()
		if err := client.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		waitPod(t, client, pod, "gone", func(e watch.Event, _ *corev1.Pod) bool { return e.Type == watch.Deleted })
		t.Logf("gone after %s", time.Since(began))
	})

	t.Run("a program that ends is started again", func(t *testing.T) {
		pod := createPod(t, client, name, "short", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"true"} })
		waitPod(t, client, pod, "restarted", func(_ watch.Event, p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount > 0
		})
	})

	t.Run("a pod for containerd says what to install", func(t *testing.T) {
		pod := createPod(t, client, name, "container", func(p *corev1.Pod) {
			p.Spec.RuntimeClassName = nil
			p.Spec.Containers[0].Image = "example.org/none:1"
		})
		lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "events", pod.Namespace, fields.OneTermEqualSelector("involvedObject.name", pod.Name))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := watchtools.UntilWithSync(ctx, lw, &corev1.Event{}, nil, func(e watch.Event) (bool, error) {
			event, ok := e.Object.(*corev1.Event)
			return ok && strings.Contains(event.Message, "apt-get install containerd runc containernetworking-plugins"), nil
		}); err != nil {
			t.Error(err)
		}
	})

	t.Run("a container is resized while it runs", func(t *testing.T) {
		pod := createPod(t, client, name, "sized", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
		})
		waitPod(t, client, pod, "ready", func(_ watch.Event, p *corev1.Pod) bool { return ready(p) })
		patch := `{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"20m"}}}]}}`
		if _, err := client.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize"); err != nil {
			t.Fatal(err)
		}
		waitPod(t, client, pod, "resized", func(_ watch.Event, p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses[0]
			return s.Resources != nil && s.Resources.Requests.Cpu().MilliValue() == 20 && s.RestartCount == 0
		})
	})

	t.Run("a killed node comes back and starts its pods again", func(t *testing.T) {
		pod := createPod(t, client, name, "survivor", nil)
		first := waitPod(t, client, pod, "ready", func(_ watch.Event, p *corev1.Pod) bool { return ready(p) })
		if err := syscall.Kill(s.PID(name), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitPod(t, client, pod, "running in another container", func(_ watch.Event, p *corev1.Pod) bool {
			return ready(p) && p.Status.ContainerStatuses[0].ContainerID != first.Status.ContainerStatuses[0].ContainerID
		})
	})
}

// TestNodeWithContainerd runs pods with images on a real node, through the machine's own folder of networks.
func TestNodeWithContainerd(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a real node and a real containerd")
	}
	containerdtest.Need(t)
	if entries, err := os.ReadDir(containerd.CNIDir); err == nil && len(entries) > 0 {
		t.Skipf("this machine has networks in %s", containerd.CNIDir)
	}
	pause, hello := containerdtest.Images(t)
	socket := containerdtest.Start(t, pause, containerd.CNIDir)
	client, _, name := testNode(t, 1, socket)
	waitNode(t, client, name)
	awaitServiceAccount(t, client)

	greeter := createPod(t, client, name, "greeter", func(p *corev1.Pod) {
		p.Spec.RuntimeClassName = nil
		p.Spec.Containers[0] = corev1.Container{
			Name: "main", Image: hello, Command: []string{"/hello"},
			Env: []corev1.EnvVar{{Name: "GREETING", Value: "hello from a container"}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
				Exec: &corev1.ExecAction{Command: []string{"/hello", "say", "ready"}},
			}},
		}
	})
	running := waitPod(t, client, greeter, "ready", func(_ watch.Event, p *corev1.Pod) bool { return ready(p) })
	if running.Status.ContainerStatuses[0].ImageID == "" {
		t.Error("the pod's status does not say which image runs")
	}

	request := func(path string) string {
		return fmt.Sprintf(`exec 3<>/dev/tcp/%s/8080; printf 'GET %s HTTP/1.0\r\n\r\n' >&3; cat <&3`, running.Status.PodIP, path)
	}
	caller := createPod(t, client, name, "caller", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Command = []string{"bash", "-c", "(" + request("/") + ") | grep 'hello from a container' && " + request("/exit")}
	})
	ended := waitPod(t, client, caller, "over", func(_ watch.Event, p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	if ended.Status.Phase != corev1.PodSucceeded {
		t.Errorf("a program of the machine did not reach the container: %+v", ended.Status.ContainerStatuses)
	}
	waitPod(t, client, greeter, "started again", func(_ watch.Event, p *corev1.Pod) bool {
		return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
}

// awaitServiceAccount waits for what the controllers put into every namespace and pods need.
func awaitServiceAccount(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "serviceaccounts", "default", fields.Everything())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := watchtools.UntilWithSync(ctx, lw, &corev1.ServiceAccount{}, nil, func(e watch.Event) (bool, error) {
		return e.Type == watch.Added, nil
	}); err != nil {
		t.Fatal(err)
	}
}
