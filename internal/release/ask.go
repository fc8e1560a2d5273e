package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// asked says whether an App has to answer a request before it counts as serving: one that says it speaks HTTP, by a
// health path or a route, and that has pods.
func asked(app v1alpha1.App) bool {
	return (app.Spec.Health != "" || app.Spec.Route != nil) && ptr.Deref(app.Spec.Replicas, 1) > 0 && !app.Spec.Suspend
}

// answer is what a request came to.
type answer struct {
	what string // such as "GET /healthz: 200"
	err  error
}

// askAgain is the pause between two requests that were not answered.
const askAgain = 200 * time.Millisecond

// ask sends requests until a pod of the new revision has answered one and, where the gateway is known, the gateway has
// passed one on. It ends with ctx at the latest.
func (w *waiter) ask(ctx context.Context) answer {
	pause := time.NewTicker(askAgain)
	defer pause.Stop()
	var last error
	for {
		a := w.askOnce(ctx)
		if a.err == nil {
			return a
		}
		if ctx.Err() == nil {
			last = a.err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return answer{err: errors.Join(last)}
		}
	}
}

func (w *waiter) askOnce(ctx context.Context) answer {
	f, _, err := w.look(ctx)
	if err != nil {
		return answer{err: err}
	}
	pod := readyPod(f)
	if pod == "" {
		return answer{err: errors.New("no pod of the new revision is ready")}
	}
	path := f.App.Spec.Health
	if path == "" {
		path = routePath(*f.App.Spec.Route)
	}
	code, err := w.askPod(ctx, f.App, pod, path)
	if err != nil {
		return answer{err: err}
	}
	if code >= http.StatusInternalServerError {
		return answer{err: fmt.Errorf("pod %q answered GET %s with %d", pod, path, code)}
	}
	if f.App.Spec.Route == nil || w.GatewayURL == "" {
		return answer{what: fmt.Sprintf("GET %s: %d", path, code)}
	}
	return w.askGateway(ctx, f.App, pod)
}

// readyPod is a pod of the newest revision that is ready; empty where there is none.
func readyPod(f Facts) string {
	for _, p := range f.NewestPods() {
		if podIs(p, corev1.PodReady) {
			return p.Name
		}
	}
	return ""
}

// askPod asks a pod directly, through the API server, which reaches pods from wherever this runs.
func (w *waiter) askPod(ctx context.Context, app v1alpha1.App, pod, path string) (int, error) {
	base, _, err := rest.DefaultServerUrlFor(w.Config)
	if err != nil {
		return 0, fmt.Errorf("reading the address of the API server: %w", err)
	}
	target, query, _ := cutQuery(path)
	u := base.JoinPath("api/v1/namespaces", app.Namespace, "pods", fmt.Sprintf("%s:%d", pod, app.Spec.Port), "proxy", target)
	u.RawQuery = query
	c, err := rest.HTTPClientFor(w.Config)
	if err != nil {
		return 0, fmt.Errorf("connecting to the API server: %w", err)
	}
	return get(ctx, c, u, "")
}

func cutQuery(path string) (before, query string, found bool) {
	u, err := url.Parse(path)
	if err != nil {
		return path, "", false
	}
	return u.Path, u.RawQuery, u.RawQuery != ""
}

// askGateway asks for the route as a visitor would. The gateway itself answers 404 while it does not have the route, so
// a 404 counts only if it is the pod's.
func (w *waiter) askGateway(ctx context.Context, app v1alpha1.App, pod string) answer {
	path := routePath(*app.Spec.Route)
	address := URL(*app.Spec.Route, w.GatewayURL)
	u, err := url.Parse(address)
	if err != nil {
		return answer{err: fmt.Errorf("gateway %q: %w", w.GatewayURL, err)}
	}
	code, err := get(ctx, w.gatewayClient(), u, u.Host)
	if err != nil {
		return answer{err: fmt.Errorf("asking %s: %w", address, err)}
	}
	if code == http.StatusNotFound {
		if code, err := w.askPod(ctx, app, pod, path); err != nil || code != http.StatusNotFound {
			return answer{err: fmt.Errorf("the gateway does not have the route %s yet", address)}
		}
	}
	if code >= http.StatusInternalServerError {
		return answer{err: fmt.Errorf("%s answered %d", address, code)}
	}
	return answer{what: fmt.Sprintf("GET %s: %d", address, code)}
}

// gatewayClient connects to the gateway whatever the host's name resolves to.
func (w *waiter) gatewayClient() *http.Client {
	gateway, err := url.Parse(w.GatewayURL)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		port := gateway.Port()
		if port == "" {
			port = gateway.Scheme
		}
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(gateway.Hostname(), port))
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// askTimeout is how long one request may take.
const askTimeout = 5 * time.Second

// get is the status of one GET. A redirect is an answer.
func get(ctx context.Context, c *http.Client, u *url.URL, host string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("making a request: %w", err)
	}
	req.Host = host
	req.Header.Set("User-Agent", "escale-deploy")
	once := *c
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := once.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the server sees a whole answer taken
	return res.StatusCode, nil
}

// logLines is how many of a failing pod's last lines are shown.
const logLines = 20

// failingLog is the pod that most likely tells why the App failed, and its last lines.
func (w *waiter) failingLog(ctx context.Context, f Facts) (pod string, lines []string) {
	p, ended := failingPod(f)
	if p == nil {
		return "", nil
	}
	// The time of the deployment may be up, but the log is wanted all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	// What is told of the pod may be older than the pod: the container that was running has ended meanwhile, and the one
	// before it is gone with its log. The other of the two has something to say then.
	for _, previous := range []bool{ended, !ended} {
		if lines = w.log(ctx, p, previous); told(lines) {
			return p.Name, lines
		}
	}
	return p.Name, nil
}

// log reads the last lines of a pod's container, the previous one if asked. There are none where there is no log, which
// is often the reason of the failure itself.
func (w *waiter) log(ctx context.Context, p *corev1.Pod, previous bool) (lines []string) {
	stream, err := w.pods.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{
		Container: containerName, Previous: previous, TailLines: ptr.To[int64](logLines),
	}).Stream(ctx)
	if err != nil {
		return nil
	}
	defer stream.Close()
	scanner := bufio.NewScanner(io.LimitReader(stream, 1<<20))
	for scanner.Scan() && len(lines) < logLines {
		lines = append(lines, scanner.Text())
	}
	return lines
}

// noLog is how a kubelet's answer begins, with success, when the container whose log is wanted is gone.
const noLog = "unable to retrieve container logs for "

// told says whether lines are a program's, rather than none or a kubelet's excuse.
func told(lines []string) bool {
	return len(lines) > 0 && !(len(lines) == 1 && strings.HasPrefix(lines[0], noLog))
}

// lastWarning is what the node last said about a pod that it cannot start. While a pod has no container, which is so
// where there is no runtime for it, its status does not tell.
func (w *waiter) lastWarning(ctx context.Context, f Facts) string {
	p, _ := failingPod(f)
	if p == nil || stage(*p) != stageStart {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	events, err := w.pods.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(p.UID), "type": corev1.EventTypeWarning}.String(),
	})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	return slices.MaxFunc(events.Items, func(a, b corev1.Event) int {
		return a.LastTimestamp.Compare(b.LastTimestamp.Time)
	}).Message
}

// failingPod is the first pod in trouble, or else the first that is not ready; ended says that its present container
// has nothing to say yet, and the one before it has.
func failingPod(f Facts) (pod *corev1.Pod, ended bool) {
	list := f.NewestPods()
	for i := range list {
		if podTrouble(list[i], f.App) != nil {
			pod = &list[i]
			break
		}
		if pod == nil && !podIs(list[i], corev1.PodReady) {
			pod = &list[i]
		}
	}
	if pod == nil {
		return nil, false
	}
	for _, c := range pod.Status.ContainerStatuses {
		ended = ended || (c.LastTerminationState.Terminated != nil && c.State.Terminated == nil)
	}
	return pod, ended
}
