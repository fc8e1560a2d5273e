package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/utils/ptr"
)

// user is someone with the kubeconfig and a namespace of their own.
type user struct {
	kubernetes.Interface
	config    *rest.Config
	namespace string
}

// newUser makes the namespace, which goes with the test.
func newUser(t *testing.T, p *platform, namespace string) user {
	t.Helper()
	u := user{p.kube(t), p.config(t), namespace}
	_, err := u.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx := context.WithoutCancel(t.Context())
		if err := u.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
			t.Errorf("deleting namespace %q: %v", namespace, err)
		}
	})
	return u
}

// processPod is a pod that runs a program of the machine once.
func processPod(command ...string) corev1.PodSpec {
	return corev1.PodSpec{
		RuntimeClassName: ptr.To(v1alpha1.RuntimeClassProcess),
		RestartPolicy:    corev1.RestartPolicyNever,
		Containers:       []corev1.Container{{Name: "main", Image: v1alpha1.HostImage, Command: command}},
		// A shell as the first process of a pod does not hear SIGTERM.
		TerminationGracePeriodSeconds: ptr.To[int64](1),
	}
}

// webPort is the port of webPod.
var webPort = intstr.FromInt32(8080)

// webPod answers every request on port 8080 with version.
func webPod(t *testing.T, version string) corev1.PodSpec {
	t.Helper()
	source, err := os.ReadFile("testdata/web.py")
	if err != nil {
		t.Fatal(err)
	}
	pod := processPod("/usr/bin/python3", "-c", string(source))
	pod.RestartPolicy = corev1.RestartPolicyAlways
	c := &pod.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "VERSION", Value: version}}
	c.Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: webPort}}}
	return pod
}

func (u user) run(t *testing.T, name string, spec corev1.PodSpec) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: spec}
	if _, err := u.CoreV1().Pods(u.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// reaches waits until the pod is as wanted; problem says what is missing.
func (u user) reaches(t *testing.T, name string, problem func(*corev1.Pod) string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, time.Minute, fmt.Sprintf("pod %q is as wanted", name), func() (err error) {
		if pod, err = u.CoreV1().Pods(u.namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if missing := problem(pod); missing != "" {
			return fmt.Errorf("%s; its status is %+v", missing, pod.Status)
		}
		return nil
	})
	return pod
}

func notReady(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "not ready"
}

func notEnded(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return ""
	}
	return "not ended"
}

// log is what the pod has written.
func (u user) log(t *testing.T, name string) string {
	t.Helper()
	b, err := u.CoreV1().Pods(u.namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// executor makes the connection of an exec, by one of the protocols that clients use.
type executor func(*rest.Config, *rest.Request) (remotecommand.Executor, error)

func webSocket(c *rest.Config, r *rest.Request) (remotecommand.Executor, error) {
	return remotecommand.NewWebSocketExecutor(c, http.MethodGet, r.URL().String())
}

func overSPDY(c *rest.Config, r *rest.Request) (remotecommand.Executor, error) {
	return remotecommand.NewSPDYExecutor(c, http.MethodPost, r.URL())
}

// exec runs a command in a pod.
func (u user) exec(t *testing.T, by executor, pod, stdin string, command ...string) (out, errs string, err error) {
	t.Helper()
	r := u.CoreV1().RESTClient().Post().Resource("pods").Namespace(u.namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	e, err := by(u.config, r)
	if err != nil {
		return "", "", err
	}
	var o, x bytes.Buffer
	err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(stdin), Stdout: &o, Stderr: &x})
	return o.String(), x.String(), err
}

func TestLogsExecAndPortForward(t *testing.T) {
	u := newUser(t, common(t), "talk")
	u.run(t, "web", webPod(t, "one"))
	u.reaches(t, "web", notReady)
	t.Run("logs", func(t *testing.T) {
		if got := u.log(t, "web"); got != "listening as one\n" {
			t.Errorf("log is %q", got)
		}
	})
	for name, by := range map[string]executor{"WebSocket": webSocket, "SPDY": overSPDY} {
		t.Run("exec over "+name, func(t *testing.T) {
			out, errs, err := u.exec(t, by, "web", "tide\n", "/bin/sh", "-c", "cat; echo low >&2; exit 7")
			var code exec.CodeExitError
			if out != "tide\n" || errs != "low\n" || !errors.As(err, &code) || code.Code != 7 {
				t.Errorf("got %q, %q and %v, want the input, the error text and exit code 7", out, errs, err)
			}
		})
	}
	t.Run("port-forward", func(t *testing.T) {
		if got := u.forwarded(t, "web"); got != "one" {
			t.Errorf("the forwarded port answered %q", got)
		}
	})
}

// forwarded asks the pod's port 8080 as `kubectl port-forward` does.
func (u user) forwarded(t *testing.T, pod string) string {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(u.config)
	if err != nil {
		t.Fatal(err)
	}
	url := u.CoreV1().RESTClient().Post().Resource("pods").Namespace(u.namespace).Name(pod).SubResource("portforward").URL()
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	defer func() { close(stop); <-ended }()
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(fmt.Sprintf("http://localhost:%d/", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestVolumesAreAtTheirPaths(t *testing.T) {
	u := newUser(t, common(t), "volumes")
	ctx := t.Context()
	_, err := u.CoreV1().ConfigMaps(u.namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "chart"}, Data: map[string]string{"depth": "12 fathoms"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.CoreV1().Secrets(u.namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "cargo"}, StringData: map[string]string{"hold": "spices"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := processPod("/bin/sh", "-c", `set -e
cat /etc/chart/depth; echo; cat /secrets/deep/cargo/hold; echo
echo written > /scratch/file; cat /scratch/file
if echo x > /etc/chart/depth; then echo the ConfigMap could be written; fi 2>/dev/null
test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token`)
	pod.Volumes = []corev1.Volume{
		{Name: "chart", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "chart"}}}},
		{Name: "cargo", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "cargo"}}},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	pod.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "chart", MountPath: "/etc/chart"}, {Name: "cargo", MountPath: "/secrets/deep/cargo"}, {Name: "scratch", MountPath: "/scratch"},
	}
	u.run(t, "reader", pod)
	u.reaches(t, "reader", notEnded)
	if got, want := u.log(t, "reader"), "12 fathoms\nspices\nwritten\ntoken\n"; got != want {
		t.Errorf("the pod saw %q, want %q", got, want)
	}
}

func TestMemoryLimitEndsAPod(t *testing.T) {
	u := newUser(t, common(t), "limits")
	pod := processPod("/usr/bin/python3", "-c", "print(len(b'x' * (1 << 28)))")
	pod.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	u.run(t, "greedy", pod)
	ended := u.reaches(t, "greedy", notEnded)
	if end := ended.Status.ContainerStatuses[0].State.Terminated; end == nil || end.Reason != "OOMKilled" || end.ExitCode != 137 {
		t.Errorf("a pod above its limit ended as %+v, want OOMKilled with exit code 137", end)
	}
}

// Names and Service addresses work where an application uses them: in a pod.
func TestServiceFromAPod(t *testing.T) {
	u := newUser(t, common(t), "names")
	u.run(t, "web", webPod(t, "answer"))
	service, err := u.CoreV1().Services(u.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "harbour"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: webPort}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.run(t, "client", processPod("/bin/sleep", "600"))
	u.reaches(t, "web", notReady)
	u.reaches(t, "client", notReady)
	resolve := "import socket,sys; print(socket.getaddrinfo(sys.argv[1], 80)[0][4][0])"
	for _, name := range []string{"harbour", "harbour.names", "harbour.names.svc.cluster.local"} {
		t.Run("the name "+name, func(t *testing.T) {
			eventually(t, 20*time.Second, "the name is known", func() error {
				out, errs, err := u.exec(t, webSocket, "client", "", "/usr/bin/python3", "-c", resolve, name)
				if err != nil {
					return fmt.Errorf("%w: %s", err, errs)
				}
				if got := strings.TrimSpace(out); got != service.Spec.ClusterIP {
					return final{fmt.Errorf("it is %s, want %s", got, service.Spec.ClusterIP)}
				}
				return nil
			})
		})
	}
	fetch := "import sys,urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())"
	for what, url := range map[string]string{"its address": "http://" + service.Spec.ClusterIP, "its name": "http://harbour"} {
		t.Run("a request to "+what, func(t *testing.T) {
			eventually(t, 20*time.Second, "the Service answers", func() error {
				out, errs, err := u.exec(t, overSPDY, "client", "", "/usr/bin/python3", "-c", fetch, url)
				if err != nil || out != "answer\n" {
					return fmt.Errorf("got %q: %w: %s", out, err, errs)
				}
				return nil
			})
		})
	}
	t.Run("a name that nobody has", func(t *testing.T) {
		_, errs, err := u.exec(t, webSocket, "client", "", "/usr/bin/python3", "-c", resolve, "nowhere.names.svc.cluster.local")
		if err == nil || !strings.Contains(errs, "socket.gaierror") {
			t.Errorf("got %v: %s", err, errs)
		}
	})
}

func TestJob(t *testing.T) {
	u := newUser(t, common(t), "jobs")
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "count"}, Spec: batchv1.JobSpec{
		Completions: ptr.To[int32](3), Parallelism: ptr.To[int32](2),
		Template: corev1.PodTemplateSpec{Spec: processPod("/bin/echo", "counted")},
	}}
	if _, err := u.BatchV1().Jobs(u.namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the job is complete", func() error {
		j, err := u.BatchV1().Jobs(u.namespace).Get(t.Context(), "count", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded != 3 {
			err = fmt.Errorf("%d of 3 pods succeeded", j.Status.Succeeded)
		}
		return err
	})
}
