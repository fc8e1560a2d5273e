package release_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/release"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// cluster is the API server that the tests of the package share, with the App controller, a node, and a stand-in for
// what runs on nodes and at the gateway.
type cluster struct {
	config   *rest.Config
	client   client.WithWatch
	timeline *timeline.Timeline
	address  string // of this machine, as the API server reaches it
}

var shared struct {
	sync.Once
	cluster *cluster
	dir     string // of the timeline
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// start gives a test the cluster and a namespace of its own. The stand-ins act in namespaces they are asked to.
func start(t *testing.T) (*cluster, string) {
	t.Helper()
	config := enginetest.Start(t)
	shared.Do(func() { shared.cluster, shared.err = newCluster(config) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	c := shared.cluster
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "release-"}}
	if err := c.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return c, ns.Name
}

func newCluster(config *rest.Config) (*cluster, error) {
	if !verbose() {
		ctrl.SetLogger(logr.Discard())
		log.SetOutput(io.Discard)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{release.AddToScheme, nodev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c := &cluster{config: config}
	var err error
	if c.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if c.address, err = outsideAddress(); err != nil {
		return nil, err
	}
	if err := c.populate(context.Background()); err != nil {
		return nil, err
	}
	m, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		return nil, err
	}
	if shared.dir, err = os.MkdirTemp("", "escale-release-test-*"); err != nil {
		return nil, err
	}
	if c.timeline, err = timeline.Open(shared.dir); err != nil {
		return nil, err
	}
	if err := release.Setup(release.Deps{Manager: m, Timeline: c.timeline, GatewayURL: func() string { return "http://127.0.0.1:8080" }}); err != nil {
		return nil, err
	}
	go func() { _ = m.Start(context.Background()) }() // as long as the test process
	return c, nil
}

func verbose() bool { return flag.Lookup("test.v").Value.String() == "true" }

// outsideAddress is one the API server is willing to proxy to, which a loopback address is not; empty where the machine
// has none. The addresses of a platform that runs at the same time come and go with it.
func outsideAddress() (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagLoopback != 0 || strings.HasPrefix(i.Name, "escale") {
			continue
		}
		for _, a := range addresses {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
				return ip.IP.String(), nil
			}
		}
	}
	return "", nil
}

// populate makes what Apps refer to, and a node with room.
func (c *cluster) populate(ctx context.Context) error {
	objects, err := release.ClusterObjects(8080)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test")); err != nil {
			return fmt.Errorf("%s: %w", o.GetName(), err)
		}
	}
	room := corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("500")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "release-test"}}
	if err := c.client.Create(ctx, node); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	patch := client.MergeFrom(node.DeepCopy())
	node.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}}
	return c.client.Status().Patch(ctx, node, patch)
}

// runPods stands in for the node of one namespace: each new pod gets the state that outcome makes of it. A pod being
// deleted goes at once. It also takes every HTTPRoute, as the gateway would.
func (c *cluster) runPods(t *testing.T, namespace string, outcome func(*corev1.Pod)) {
	t.Helper()
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); done.Wait() })
	for _, list := range []client.ObjectList{&corev1.PodList{}, &gatewayv1.HTTPRouteList{}} {
		w, err := c.client.Watch(ctx, list, client.InNamespace(namespace))
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			defer w.Stop()
			for e := range w.ResultChan() {
				switch o := e.Object.(type) {
				case *corev1.Pod:
					c.runPod(ctx, t, o, outcome)
				case *gatewayv1.HTTPRoute:
					c.takeRoute(ctx, t, o)
				}
			}
		})
	}
}

func (c *cluster) runPod(ctx context.Context, t *testing.T, p *corev1.Pod, outcome func(*corev1.Pod)) {
	if p.DeletionTimestamp != nil {
		_ = c.client.Delete(ctx, p, client.GracePeriodSeconds(0)) // gone already is as good
		return
	}
	if p.Spec.NodeName == "" || p.Status.PodIP != "" || len(p.Status.ContainerStatuses) > 0 {
		return
	}
	p.Status.PodIP = c.address
	p.Status.PodIPs = []corev1.PodIP{{IP: c.address}}
	outcome(p)
	if err := c.client.Status().Update(ctx, p); ignorable(ctx, err) != nil {
		t.Errorf("standing in for the node: %v", err)
	}
}

func (c *cluster) takeRoute(ctx context.Context, t *testing.T, r *gatewayv1.HTTPRoute) {
	if len(r.Status.Parents) > 0 && r.Status.Parents[0].Conditions[0].ObservedGeneration == r.Generation {
		return
	}
	parent := gatewayv1.RouteParentStatus{ParentRef: r.Spec.ParentRefs[0], ControllerName: release.GatewayController}
	for _, kind := range []string{"Accepted", "ResolvedRefs"} {
		meta.SetStatusCondition(&parent.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: kind, ObservedGeneration: r.Generation,
		})
	}
	r.Status.Parents = []gatewayv1.RouteParentStatus{parent}
	if err := c.client.Status().Update(ctx, r); ignorable(ctx, err) != nil {
		t.Errorf("standing in for the gateway: %v", err)
	}
}

// ignorable leaves out what a newer version of the object, or the end of the test, makes up for.
func ignorable(ctx context.Context, err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || ctx.Err() != nil {
		return nil
	}
	return err
}

// healthy is a pod that runs and is ready.
func healthy(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	setPodCondition(p, corev1.PodReady, corev1.ConditionTrue)
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Ready: true, State: corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()},
	}}}
}

// crashing is a pod that has ended three times.
func crashing(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", RestartCount: 3, State: backOff, LastTerminationState: ended(3, "Error", "no database", time.Second),
	}}
}

func setPodCondition(p *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus) {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: metav1.Now()})
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// await watches an App until it is as wanted.
func (c *cluster) await(t *testing.T, namespace, name, what string, is func(v1alpha1.App) bool) v1alpha1.App {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := c.client.Watch(ctx, &v1alpha1.AppList{}, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var last v1alpha1.App
	for e := range w.ResultChan() {
		a, ok := e.Object.(*v1alpha1.App)
		if !ok {
			t.Fatalf("watching App %q: %v", name, e.Object)
		}
		if last = *a; is(last) {
			return last
		}
	}
	t.Fatalf("App %q never %s; its last status: %+v", name, what, last.Status)
	return last
}

// isNow waits for a condition that speaks of the present generation, with this reason.
func (c *cluster) isNow(t *testing.T, namespace, name, condition, reason string) v1alpha1.App {
	t.Helper()
	return c.await(t, namespace, name, "became "+condition+" because of "+reason, func(a v1alpha1.App) bool {
		found := meta.FindStatusCondition(a.Status.Conditions, condition)
		return found != nil && found.Status == metav1.ConditionTrue && found.Reason == reason && found.ObservedGeneration == a.Generation
	})
}

// gone waits until an object is deleted.
func (c *cluster) gone(t *testing.T, gvk, namespace, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	group, kind, _ := strings.Cut(gvk, " ")
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(group)
	list.SetKind(kind + "List")
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(group)
	o.SetKind(kind)
	if err := c.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	w, err := c.client.Watch(ctx, list, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	key := client.ObjectKey{Namespace: namespace, Name: name}
	for {
		if err := c.client.Get(ctx, key, o); apierrors.IsNotFound(err) {
			return
		} else if err != nil {
			t.Fatalf("%s %q is still there: %v", kind, name, errors.Join(err, ctx.Err()))
		}
		if _, ok := <-w.ResultChan(); !ok {
			t.Fatalf("%s %q is still there", kind, name)
		}
	}
}
