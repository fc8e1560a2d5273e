package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// services are the shop's Apps that answer through the gateway, and where.
var services = map[string]string{
	"storefront": "/",
	"catalog":    "/api/catalog?q=compass",
	"payment":    "/api/payments/healthz",
	"dispatch":   "/api/dispatch",
}

// shop is a visit to the shop of a platform.
type shop struct {
	*http.Client
	basket *http.Cookie
}

// ask sends a request to the shop and decodes the answer, if there is something to decode it into.
func (s *shop) ask(method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, "http://shop.localhost"+path, content)
	if err != nil {
		return err
	}
	if s.basket != nil {
		r.AddCookie(s.basket)
	}
	resp, err := s.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		s.basket = c
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}

// open says why the shop is not open: every service has to answer.
func (s *shop) open() error {
	var errs []error
	for name, path := range services {
		if err := s.ask(http.MethodGet, path, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// order is what the tests read of an order.
type order struct {
	ID, State string
	Total     int64
}

// buy goes through the shop as a customer does: search, basket, payment.
func (s *shop) buy() (o order, err error) {
	var found struct{ Products []struct{ ID string } }
	if err := s.ask(http.MethodGet, "/api/catalog?q=compass", nil, &found); err != nil {
		return o, err
	}
	if len(found.Products) == 0 {
		return o, errors.New("the search for a compass found nothing")
	}
	id := found.Products[0].ID
	var basket struct {
		Lines []struct {
			ID       string
			Quantity int64
		}
	}
	if err := s.ask(http.MethodPost, "/api/basket", map[string]any{"id": id, "quantity": 2}, &basket); err != nil {
		return o, err
	}
	if len(basket.Lines) != 1 || basket.Lines[0].ID != id {
		return o, fmt.Errorf("put %q into the basket, which holds %v", id, basket.Lines)
	}
	err = s.ask(http.MethodPost, "/api/payments", map[string]any{
		"key": s.basket.Value, "card": "4242 4242 4242 4242", "name": "Ada", "harbour": "Old Harbour",
		"items": map[string]int64{id: basket.Lines[0].Quantity},
	}, &o)
	if err == nil && (o.ID == "" || o.State != "paid" || o.Total == 0) {
		return o, fmt.Errorf("paid and got the order %+v", o)
	}
	return o, err
}

// order asks for an order.
func (s *shop) order(id string) (o order, err error) {
	return o, s.ask(http.MethodGet, "/api/payments/"+id, nil, &o)
}

func TestShop(t *testing.T) {
	p := common(t)
	t.Run("every service answers through the gateway", func(t *testing.T) {
		s := shop{Client: p.http(t)}
		if err := s.open(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a customer finds, pays, and the order is shipped", func(t *testing.T) {
		s := shop{Client: p.http(t)}
		bought, err := s.buy()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the order is shipped", func() error {
			o, err := s.order(bought.ID)
			if err == nil && o.State != "shipped" {
				err = fmt.Errorf("it is %s", o.State)
			}
			return err
		})
	})
	t.Run("a request with a body that nobody asked for spoils no other", func(t *testing.T) {
		s := shop{Client: p.http(t)}
		for range 3 {
			for _, body := range []any{"GET / HTTP/1.1", nil} {
				if err := s.ask(http.MethodGet, services["catalog"], body, nil); err != nil {
					t.Error(err)
				}
			}
		}
	})
	t.Run("the state file tells the stages and whose network it is", func(t *testing.T) {
		s := p.state(t)
		var stages []string
		for _, stage := range s.Stages {
			stages = append(stages, stage.Name)
			if stage.Duration <= 0 {
				t.Errorf("stage %q took %s", stage.Name, stage.Duration)
			}
		}
		for _, want := range []string{"network", "etcd", "API server", "nodes", "definitions"} {
			if !slices.Contains(stages, want) {
				t.Errorf("no stage %q in %q", want, stages)
			}
		}
		if s.Isolation != "private" {
			t.Errorf("isolation is %q", s.Isolation)
		}
	})
	t.Run("up prints where everything is", func(t *testing.T) {
		s, out := p.state(t), p.out.String()
		for _, want := range []string{"http://shop.localhost:", s.Kubeconfig, "/login?token=", "export KUBECONFIG="} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	})
}

// status is what the tests read of `escale status -o json`.
type status struct {
	Platform struct{ State, Kubeconfig, GatewayURL, PortalURL, Isolation string }
	Nodes    []struct {
		Name, Zone string
		Ready      bool
	}
	Apps []struct {
		Name, Namespace, URL, Revision string
		Ready                          bool
		Desired, Observed              int32
	}
}

func TestStatus(t *testing.T) {
	p := common(t)
	a := p.escale(t, "status", "-o", "json", "-n", "shop")
	if a.code != 0 {
		t.Fatalf("exit code %d: %s%s", a.code, a.out, a.err)
	}
	var s status
	if err := json.Unmarshal([]byte(a.out), &s); err != nil {
		t.Fatalf("%v in\n%s", err, a.out)
	}
	if want := p.state(t); s.Platform.State != "ready" || s.Platform.GatewayURL != want.GatewayURL || s.Platform.Kubeconfig != want.Kubeconfig {
		t.Errorf("platform is %+v", s.Platform)
	}
	zones := map[string]bool{}
	for _, n := range s.Nodes {
		zones[n.Zone] = true
		if !n.Ready {
			t.Errorf("node %q is not ready", n.Name)
		}
	}
	if len(s.Nodes) != 3 || len(zones) != 3 {
		t.Errorf("nodes are %+v, want three in three zones", s.Nodes)
	}
	var names []string
	for _, app := range s.Apps {
		names = append(names, app.Name)
		if !app.Ready || app.Observed != app.Desired || app.Desired == 0 || app.Revision == "" {
			t.Errorf("App is %+v", app)
		}
		if _, routed := services[app.Name]; routed && !strings.HasPrefix(app.URL, "http://shop.localhost:") {
			t.Errorf("App %q has the URL %q", app.Name, app.URL)
		}
	}
	slices.Sort(names)
	if want := []string{"catalog", "database", "dispatch", "payment", "storefront"}; !slices.Equal(names, want) {
		t.Errorf("Apps are %q, want %q", names, want)
	}
}

// The App with a schedule is in the cluster from the start; by now the next minute has begun or is about to.
func TestScheduledApp(t *testing.T) {
	p := common(t)
	jobs := p.kube(t).BatchV1().Jobs("default")
	eventually(t, 90*time.Second, "a job of the App is complete", func() error {
		list, err := jobs.List(t.Context(), metav1.ListOptions{LabelSelector: "escale.dev/app=minutely"})
		if err != nil {
			return err
		}
		for _, j := range list.Items {
			for _, c := range j.Status.Conditions {
				if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
		}
		return fmt.Errorf("%d jobs, none complete", len(list.Items))
	})
}
