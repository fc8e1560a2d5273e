package traffic

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"k8s.io/apimachinery/pkg/types"
)

// The way of a request from zero: it is held, whoever scales hears of it at once, and the store learns when the new pod
// took requests and answered.
func TestSignalsFollowARequestFromZero(t *testing.T) {
	store := signal.New(signal.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := store.Subscribe(ctx)
	p := newPlane(t)
	p.gateway.shared.signals = store
	p.install(base, httpRoute("r", toWeb))

	result := make(chan string, 1)
	go func() {
		_, body, err := p.do("POST", "/", strings.NewReader("held"))
		result <- fmt.Sprint(strings.Contains(body, "body=held"), err)
	}()
	for e := range events {
		if e.Held == (types.NamespacedName{Namespace: "shop", Name: "web"}) {
			break
		}
	}
	if traffic := p.gateway.Traffic(); len(traffic) != 1 || traffic[0].Held != 1 || traffic[0].InFlight != 1 {
		t.Errorf("while it is held: %+v", traffic)
	}
	address := backendServer(t, describe)
	if times := store.PodTimes(address); !times.Routed.IsZero() {
		t.Errorf("before the pod is there: %+v", times)
	}
	p.set(address)
	if got := <-result; got != "true <nil>" {
		t.Errorf("the held request ended with %s", got)
	}
	times := store.PodTimes(address)
	if times.Routed.IsZero() || times.Answered.Before(times.Routed) {
		t.Errorf("the pod's stages: %+v", times)
	}
	until(func() bool { return p.gateway.Traffic()[0].Requests == 1 })
	if n := p.metric("holds_total", "shop/web:80"); n != 1 {
		t.Errorf("%v holds were counted", n)
	}
}

func TestHoldTime(t *testing.T) {
	served := BackendKey{Namespace: "shop", Service: "web"}
	workload := signal.Backend{Workload: signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}, Share: 1}
	store := signal.New(signal.Config{Topology: signal.FixedTopology{
		Services: map[types.NamespacedName][]signal.Backend{{Namespace: "shop", Name: "web"}: {workload}},
	}})
	for _, c := range []struct {
		name    string
		key     BackendKey
		signals *signal.Store
		hold    time.Duration
		want    time.Duration
	}{
		{"a workload can come", served, store, 0, 60 * time.Second},
		{"no workload is known", BackendKey{Namespace: "shop", Service: "db"}, store, 0, 10 * time.Second},
		{"nothing is known", served, nil, 0, 60 * time.Second},
		{"as configured", served, store, 90 * time.Second, 90 * time.Second},
		{"never longer than ten minutes", served, store, time.Hour, 10 * time.Minute},
		{"shorter than that of no hope", BackendKey{}, store, time.Second, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newBackend(c.key, newSharedPlane(c.signals, c.hold)).holdTime(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Two ways to speak to one Service and port are one to the signals.
func TestMergeTraffic(t *testing.T) {
	now := time.Now()
	one := signal.Traffic{Service: types.NamespacedName{Namespace: "a", Name: "b"}, Port: 80, Requests: 3, Errors: 1, InFlight: 2, Held: 1, LastSuccess: now}
	two := one
	two.Requests, two.LastSuccess = 4, now.Add(time.Second)
	one.Latency.Buckets[2], two.Latency.Buckets[2], two.Latency.Sum = 3, 4, 1.5
	other := one
	other.Port = 81
	got := mergeTraffic([]signal.Traffic{one, two, other})
	if len(got) != 2 || got[1].Port != 81 || got[1].Requests != 3 {
		t.Fatalf("got %+v", got)
	}
	if g := got[0]; g.Requests != 7 || g.Errors != 2 || g.InFlight != 4 || g.Held != 2 || g.Latency.Buckets[2] != 7 || g.Latency.Sum != 1.5 || !g.LastSuccess.Equal(now.Add(time.Second)) {
		t.Errorf("got %+v", g)
	}
}
