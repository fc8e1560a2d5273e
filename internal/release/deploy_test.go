package release_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/release"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// built is a builder whose image is known beforehand.
type built struct{ err error }

func (b built) Build(_ context.Context, dir string, src v1alpha1.Source, app string) (string, []string, error) {
	return "registry/" + app + "@sha256:0", []string{"/app/web"}, b.err
}

// serve answers on an address that pods can have.
func (c *cluster) serve(t *testing.T, h http.HandlerFunc) (port string) {
	t.Helper()
	if c.address == "" {
		t.Skip("this machine has no address but loopback, to which the API server does not proxy")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func parse(t *testing.T, text string) release.File {
	t.Helper()
	f, err := release.Parse("escale.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func webFile(port, rest string) string {
	return `
apiVersion: escale.dev/v1alpha1
kind: App
metadata: {name: web}
spec:
  source: {path: .}
  port: ` + port + `
  health: /healthz
` + rest
}

func TestDeployWaitsForTheAnswer(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, healthy)
	asked := make(chan string, 100)
	port := c.serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host + r.URL.Path
		if len(asked) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	file := parse(t, webFile(port, `
  route: {host: shop.example, path: /shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
`))
	var steps []string
	results, err := release.Deploy(t.Context(), release.DeployOptions{
		File: file, Config: c.config, Namespace: ns, Builder: built{}, GatewayURL: "http://" + net.JoinHostPort(c.address, port),
		Progress: func(e release.Event) {
			if step := strings.TrimSpace(e.Kind + " " + string(e.Step)); len(steps) == 0 || steps[len(steps)-1] != step {
				steps = append(steps, step)
			}
		},
	})
	if err != nil || len(results) != 1 || results[0].Err != nil {
		t.Fatalf("%v: %+v", err, results)
	}
	r := results[0]
	if want := "GET http://shop.example:" + port + "/shop: 200"; r.Answer != want || r.URL != "http://shop.example:"+port+"/shop" || r.Ready != 1 {
		t.Errorf("got %+v, want the answer %q", r, want)
	}
	got := strings.Join(steps, ", ")
	if !strings.HasPrefix(got, "building, built, ConfigMap applied, applied, ") || !strings.HasSuffix(got, "checking, serving") {
		t.Errorf("steps: %s", got)
	}
	close(asked)
	last := ""
	for last = range asked {
	}
	if last != "shop.example:"+port+"/shop" {
		t.Errorf("the last request was for %q", last)
	}
	var have v1alpha1.App
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &have); err != nil {
		t.Fatal(err)
	}
	if s := have.Spec; s.Source != nil || s.Image != "registry/"+ns+"/web@sha256:0" || s.Runtime != v1alpha1.RuntimeProcess || s.Command[0] != "/app/web" {
		t.Errorf("applied %+v", have.Spec)
	}
}

func TestDeployGivesUpOnACrashLoop(t *testing.T) {
	c, ns := start(t)
	c.runPods(t, ns, crashing)
	results, err := release.Deploy(t.Context(), release.DeployOptions{
		File: parse(t, webFile("8080", "")), Config: c.config, Namespace: ns, Builder: built{},
	})
	if !errors.Is(err, release.ErrNotServing) {
		t.Fatalf("got %v", err)
	}
	r := results[0]
	if r.Reason != release.ReasonCrashLoopBackOff || r.Pod == "" || !strings.Contains(r.Err.Error(), "exit code 3: no database") {
		t.Errorf("got %+v", r)
	}
}

func TestDeployIsInterrupted(t *testing.T) {
	c, ns := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	results, err := release.Deploy(ctx, release.DeployOptions{
		File: parse(t, webFile("8080", "")), Config: c.config, Namespace: ns, Builder: built{},
		Progress: func(e release.Event) {
			if e.Step == release.StepWaiting {
				cancel()
			}
		},
	})
	if !errors.Is(err, release.ErrNotServing) || results[0].Reason != "Interrupted" {
		t.Errorf("got %v, %+v", err, results)
	}
}

func TestDeployAppliesNothingWhenASourceDoesNotBuild(t *testing.T) {
	c, ns := start(t)
	broken := errors.New("main.go:3: undefined: x")
	_, err := release.Deploy(t.Context(), release.DeployOptions{
		File: parse(t, webFile("8080", "")), Config: c.config, Namespace: ns, Builder: built{err: broken},
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	var list v1alpha1.AppList
	if err := c.client.List(t.Context(), &list, client.InNamespace(ns)); err != nil || len(list.Items) > 0 {
		t.Errorf("%d Apps were applied, %v", len(list.Items), err)
	}
}

func TestDeployMakesWhatItNeeds(t *testing.T) {
	c, ns := start(t)
	other := ns + "-made"
	c.runPods(t, other, healthy)
	file := parse(t, `
apiVersion: gadgets.example.com/v1
kind: Gadget
metadata: {name: one}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.gadgets.example.com}
spec:
  group: gadgets.example.com
  scope: Namespaced
  names: {kind: Gadget, plural: gadgets}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: escale.dev/v1alpha1
kind: App
metadata: {name: worker}
spec: {image: i, priority: low}
---
apiVersion: escale.dev/v1alpha1
kind: App
metadata: {name: nightly}
spec: {image: i, schedule: "@daily"}
`)
	results, err := release.Deploy(t.Context(), release.DeployOptions{File: file, Config: c.config, Namespace: other})
	if err != nil {
		t.Fatalf("%v: %+v", err, results)
	}
	if results[0].Reason != release.ReasonServing || results[1].Reason != release.ReasonScheduled || results[0].Answer != "" {
		t.Errorf("got %+v", results)
	}
	if err := c.client.Get(t.Context(), client.ObjectKey{Name: other}, &corev1.Namespace{}); err != nil {
		t.Error(err)
	}
	unknown := parse(t, "apiVersion: nobody.example.com/v1\nkind: Thing\nmetadata: {name: x}\n")
	_, err = release.Deploy(t.Context(), release.DeployOptions{File: unknown, Config: c.config, Namespace: ns})
	if err == nil || !strings.Contains(err.Error(), "the cluster does not know nobody.example.com/v1, Kind=Thing") {
		t.Errorf("got %v", err)
	}
}
