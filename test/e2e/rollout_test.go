package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A Deployment of ordinary pods, as kubectl makes it, is rolled while requests arrive through the gateway.
func TestRolloutLosesNoRequest(t *testing.T) {
	p := common(t)
	u := newUser(t, p, "rollout")
	u.deployWeb(t, "first")
	u.route(t, "rollout.localhost", "web")
	get := getter(p.http(t), "http://rollout.localhost/")
	eventually(t, time.Minute, "the gateway answers", func() error { _, err := get(); return err })

	stop := make(chan struct{})
	load := begin(get, stop)
	u.deployWeb(t, "second")
	eventually(t, time.Minute, "only the second version is left", func() error { return u.rolled(t, "web") })
	close(stop)
	seen, lost := load()
	for _, err := range lost {
		t.Errorf("lost: %v", err)
	}
	if seen["first"] == 0 || seen["second"] == 0 {
		t.Errorf("answers were %v, want some of both versions", seen)
	}
	if answer, err := get(); answer != "second" {
		t.Errorf("after the rollout the answer is %q (%v)", answer, err)
	}
	t.Logf("answers %v", seen)
}

// deployWeb makes or changes the Deployment "web" and makes its Service.
func (u user) deployWeb(t *testing.T, version string) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	pod := webPod(t, version)
	pod.TerminationGracePeriodSeconds = ptr.To[int64](10)
	// As long as it takes everyone to hear that the pod goes.
	pod.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 2}}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: u.namespace}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](2),
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0))}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
	}}
	deployments := u.AppsV1().Deployments(u.namespace)
	if version != "first" {
		if _, err := deployments.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := deployments.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: webPort}}}}
	if _, err := u.CoreV1().Services(u.namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// route sends the requests for a host to port 80 of a Service.
func (u user) route(t *testing.T, host, service string) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := gatewayv1.Install(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(u.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: service, Namespace: u.namespace}, Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{
			Name: "escale", Namespace: ptr.To(gatewayv1.Namespace("escale-system"))}}},
		Hostnames: []gatewayv1.Hostname{gatewayv1.Hostname(host)},
		Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(service), Port: ptr.To[gatewayv1.PortNumber](80)}}}}}},
	}}
	if err := c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// rolled says what is missing for the Deployment to run its newest version alone.
func (u user) rolled(t *testing.T, name string) error {
	d, err := u.AppsV1().Deployments(u.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := u.CoreV1().Pods(u.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return err
	}
	want := *d.Spec.Replicas
	if s := d.Status; s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.AvailableReplicas != want || int32(len(pods.Items)) != want {
		return fmt.Errorf("%d pods, status %+v", len(pods.Items), s)
	}
	return nil
}

// getter asks for a URL; an answer other than 200 is an error.
func getter(c *http.Client, url string) func() (string, error) {
	return func() (string, error) {
		resp, err := c.Get(url)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return string(b), err
	}
}

// begin sends up to 200 requests a second until stop is closed. The result waits for the last and tells the answers and
// the failures.
func begin(get func() (string, error), stop <-chan struct{}) func() (map[string]int, []error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	seen, lost := map[string]int{}, []error(nil)
	for range 4 {
		all.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				answer, err := get()
				mu.Lock()
				if err != nil {
					lost = append(lost, err)
				} else {
					seen[answer]++
				}
				mu.Unlock()
			}
		})
	}
	return func() (map[string]int, []error) { all.Wait(); return seen, lost }
}
