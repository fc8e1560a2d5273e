package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Requests go on while a route changes twenty times, and while a node is lost with one of the two pods that answer.
func TestChangesAndANodeLossLoseNoRequest(t *testing.T) {
	needRoot(t)
	p := start(t, launch{dir: newDir(t)})
	p.mustReady(t)
	u := newUser(t, p, "loss")
	u.deployWeb(t, "first")
	u.route(t, "loss.localhost", "web")
	get := getter(p.http(t), "http://loss.localhost/")
	eventually(t, time.Minute, "the gateway answers", func() error { _, err := get(); return err })
	eventually(t, time.Minute, "both pods are ready", func() error { return u.rolled(t, "web") })

	for _, c := range []struct {
		name    string
		disturb func(t *testing.T)
	}{
		{"twenty changes of the route", func(t *testing.T) { u.changeRoute(t, "web", 20) }},
		{"a node is lost", func(t *testing.T) { u.loseNode(t, p) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan struct{})
			load := begin(get, stop)
			c.disturb(t)
			close(stop)
			seen, lost := load()
			for _, err := range lost {
				t.Errorf("lost: %v", err)
			}
			if seen["first"] < 100 {
				t.Errorf("only %d answers", seen["first"])
			}
			t.Logf("%d answers", seen["first"])
		})
	}
}

// changeRoute gives a route another timeout, n times, each once the one before is served.
func (u user) changeRoute(t *testing.T, name string, n int) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := gatewayv1.Install(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(u.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKey{Namespace: u.namespace, Name: name}
	for i := range n {
		var r gatewayv1.HTTPRoute
		if err := c.Get(t.Context(), key, &r); err != nil {
			t.Fatal(err)
		}
		before := r.DeepCopy()
		timeout := gatewayv1.Duration(fmt.Sprintf("%ds", 20+i))
		r.Spec.Rules[0].Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: &timeout}
		if err := c.Patch(t.Context(), &r, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "the changed route is accepted", func() error {
			if err := c.Get(t.Context(), key, &r); err != nil {
				return err
			}
			if s := r.Status.Parents; len(s) != 1 || s[0].Conditions[0].ObservedGeneration < r.Generation {
				return fmt.Errorf("status %+v of generation %d", s, r.Generation)
			}
			return nil
		})
	}
}

// loseNode kills the node of one of the pods, with all its pods, and waits until two are ready again.
func (u user) loseNode(t *testing.T, p *platform) {
	t.Helper()
	pods, err := u.CoreV1().Pods(u.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 2 || pods.Items[0].Spec.NodeName == pods.Items[1].Spec.NodeName {
		t.Fatalf("the pods are not on two nodes: %d", len(pods.Items))
	}
	lost := pods.Items[0]
	node, err := p.node(lost.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	below := traces{processes: descendants(node.pid)}
	if err := syscall.Kill(node.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := poll(5*time.Second, below.alive); err != nil {
		t.Errorf("after node %q was killed: %v", lost.Spec.NodeName, err)
	}
	eventually(t, time.Minute, "the pod was started again", func() error {
		now, err := u.CoreV1().Pods(u.namespace).Get(t.Context(), lost.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if missing := notReady(now); missing != "" {
			return errors.New(missing)
		}
		return startedAgain(&lost, now)
	})
}

// startedAgain says whether a pod's program is another one than before.
func startedAgain(before, now *corev1.Pod) error {
	if before.Status.ContainerStatuses[0].ContainerID == now.Status.ContainerStatuses[0].ContainerID {
		return errors.New("it is still the program from before")
	}
	return nil
}
