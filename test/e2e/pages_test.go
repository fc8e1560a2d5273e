package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
)

// tab is a page of the portal in Chromium, logged in.
type tab struct {
	*testing.T
	base string
	ctx  context.Context
}

func openTab(t *testing.T, p *platform) tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium: apt-get install chromium")
	}
	link := p.escale(t, "open", "--print")
	login := strings.TrimSpace(link.out)
	base, _, found := strings.Cut(login, "/login?")
	if link.code != 0 || !found {
		t.Fatalf("no link to log in: %+v", link)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	limited, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	alloc, stop := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(end)
	b := tab{t, base, ctx}
	b.do(chromedp.Navigate(login))
	return b
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatalf("in the browser: %v", err)
	}
}

// show opens a page and waits until it is live.
func (b tab) show(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base+path), chromedp.WaitReady(chromedp.CSS(`#link[data-link=live]`)))
}

// says waits until the text of what a selector finds has all the words. The page is not loaded again meanwhile.
func (b tab) says(selector string, words ...string) {
	b.Helper()
	text := `[...document.querySelectorAll(` + "`" + selector + "`" + `)].map((e) => e.textContent).join("\n")`
	for _, w := range words {
		condition := text + `.includes(` + "`" + w + "`" + `)`
		if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(30*time.Second))); err != nil {
			have, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](text))
			b.Fatalf("waited in vain for %q in %s, which says %q: %v", w, selector, have, err)
		}
	}
}

// lacks waits until what a selector finds is there and does not say a word.
func (b tab) lacks(selector, word string) {
	b.Helper()
	condition := `((e) => e && !e.textContent.includes(` + "`" + word + "`" + `))(document.querySelector(` + "`" + selector + "`" + `))`
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(30*time.Second))); err != nil {
		b.Fatalf("waited in vain for %s without %q: %v", selector, word, err)
	}
}

// TestPagesShowWhatHappens looks at the portal as a person does while requests come in, one waits for a pod, and a
// workload is scaled up because its source cannot be read.
func TestPagesShowWhatHappens(t *testing.T) {
	p := common(t)
	b := openTab(t, p)
	u := newUser(t, p, "pages")
	u.scaledWithoutSource(t)

	stop := make(chan struct{})
	wait := begin(getter(p.http(t), "http://shop.localhost/"), stop)
	b.show("/traffic")
	b.lacks(`[id="r-shop/storefront"] .c-p95`, "–")
	b.says(`[id="r-shop/storefront"] .c-state`, "Serving")
	b.show("/traffic/shop/storefront")
	b.says("#latency .legend", "ms")
	b.says("#backends", "shop/storefront:8080", "Serving")
	b.show("/apps/shop/storefront")
	b.says("#chart-latency .legend", "ms")
	b.says("#chart-pods .legend", "ready")
	close(stop)
	wait()

	b.show("/scaling")
	b.says("#total .notices", "pages/invoices", "rabbitmq cannot be read", "escale scale explain invoices -n pages")
	b.show("/scaling/pages/invoices")
	b.says("#scaleups .stage-name", "signal", "decision", "placement", "start", "ready")
	b.says("#pods .legend", "scaled up")

	u.heldRequest(t, p)
	b.show("/traffic")
	b.says("#total .notices", "pages/empty:80", "for the first ready pod")
}

// scaledWithoutSource makes a Deployment of one pod that is scaled by a queue nobody serves, with a fallback of two.
func (u user) scaledWithoutSource(t *testing.T) {
	t.Helper()
	labels := map[string]string{"app": "invoices"}
	pod := processPod("/bin/sleep", "3600")
	pod.RestartPolicy = corev1.RestartPolicyAlways
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "invoices"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod}}}
	if _, err := u.AppsV1().Deployments(u.namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := kedav1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(u.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	o := &kedav1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Name: "invoices", Namespace: u.namespace}, Spec: kedav1alpha1.ScaledObjectSpec{
		ScaleTargetRef: &kedav1alpha1.ScaleTarget{Name: "invoices"},
		Fallback:       &kedav1alpha1.Fallback{FailureThreshold: 1, Replicas: 2},
		Triggers: []kedav1alpha1.ScaleTriggers{{Type: "rabbitmq", Metadata: map[string]string{
			"host": "amqp://guest:guest@127.0.0.1:1/", "queueName": "invoices", "mode": "QueueLength", "value": "20"}}}}}
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// heldRequest sends a request for a Service without pods, which waits until the test ends.
func (u user) heldRequest(t *testing.T, p *platform) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "empty"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "nobody"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: webPort}}}}
	if _, err := u.CoreV1().Services(u.namespace).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	u.route(t, "empty.localhost", "empty")
	ask := getter(p.http(t), "http://empty.localhost/")
	stop := make(chan struct{})
	wait := begin(ask, stop)
	t.Cleanup(func() { close(stop); wait() })
}
