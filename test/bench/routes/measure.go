package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func host(part string, i int) string { return fmt.Sprintf("%s-%d.test", part, i) }

func route(part string, i int, service string) *gatewayv1.HTTPRoute {
	port := gatewayv1.PortNumber(80)
	kind := gatewayv1.PathMatchPathPrefix
	slash := "/"
	return &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", part, i)},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "edge"}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(host(part, i))},
			Rules: []gatewayv1.HTTPRouteRule{{
				Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &kind, Value: &slash}}},
				BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(service), Port: &port},
				}}},
			}},
		},
	}
}

// status is the code of an answer; 0 if there was none.
func (b *bench) status(url, host string) int {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	r.Host = host
	res, err := b.http.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func (b *bench) served(host string) bool {
	return b.status("http://"+b.requests+"/", host) == http.StatusOK
}

// until asks again at once.
func (b *bench) until(ctx context.Context, done func() bool) error {
	for !done() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for the gateway: %w", err)
		}
	}
	return nil
}

// oneByOne measures from the answer to a route's creation to the first answer of the route.
func (b *bench) oneByOne(ctx context.Context, part string, n int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range n {
		if err := b.client.Create(ctx, route(part, i, "web")); err != nil {
			return nil, err
		}
		created := time.Now()
		if err := b.until(ctx, func() bool { return b.served(host(part, i)) }); err != nil {
			return nil, err
		}
		took = append(took, time.Since(created))
	}
	return took, nil
}

// warm creates some routes, asks for them, and deletes them.
func (b *bench) warm(ctx context.Context) error {
	const n = 100
	if _, _, err := b.atOnce(ctx, "warm", n); err != nil {
		return err
	}
	for i := range n {
		if err := b.client.Delete(ctx, route("warm", i, "web")); err != nil {
			return err
		}
		if err := b.until(ctx, func() bool { return !b.served(host("warm", i)) }); err != nil {
			return err
		}
	}
	return nil
}

// writers is how many routes are created at a time.
const writers = 8

// atOnce creates routes and measures how long that takes, and from then on until every one is served.
func (b *bench) atOnce(ctx context.Context, part string, n int) (created, served time.Duration, err error) {
	begun := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, writers)
	for range writers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := b.client.Create(ctx, route(part, i, "web")); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return 0, 0, err
	}
	created = time.Since(begun)
	for i := range n {
		if err := b.until(ctx, func() bool { return b.served(host(part, i)) }); err != nil {
			return 0, 0, err
		}
	}
	return created, time.Since(begun) - created, nil
}

// memoryUse is what the gateway's process holds, in bytes.
type memoryUse struct{ live, resident int64 }

// settle is how long the gateway gets to write its statuses and collect its garbage.
const settle = 20 * time.Second

func (b *bench) memory(ctx context.Context) (memoryUse, error) {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return memoryUse{}, ctx.Err()
	}
	res, err := b.http.Get("http://" + b.health + "/metrics")
	if err != nil {
		return memoryUse{}, err
	}
	defer res.Body.Close()
	values := map[string]float64{}
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = f
		}
	}
	// The heap goal is half again what the last collection found alive: see internal/engine/memory.
	return memoryUse{
		live:     int64(values["go_memstats_next_gc_bytes"] / 1.5),
		resident: int64(values["process_resident_memory_bytes"]),
	}, nil
}

// changeUnderLoad changes the backend of a route while clients ask for it.
func (b *bench) changeUnderLoad(ctx context.Context, n int) (sent, failed int64, err error) {
	if err := b.client.Create(ctx, route("load", 0, "web")); err != nil {
		return 0, 0, err
	}
	if err := b.until(ctx, func() bool { return b.served(host("load", 0)) }); err != nil {
		return 0, 0, err
	}
	var requests, failures atomic.Int64
	loading, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for loading.Err() == nil {
				if requests.Add(1); !b.served(host("load", 0)) {
					failures.Add(1)
				}
			}
		})
	}
	for i := range n {
		if err = b.change(ctx, []string{"other", "web"}[i%2]); err != nil {
			break
		}
		before := requests.Load()
		if err = b.until(ctx, func() bool { return requests.Load() > before+200 }); err != nil {
			break
		}
	}
	stop()
	clients.Wait()
	return requests.Load(), failures.Load(), err
}

func (b *bench) change(ctx context.Context, service string) error {
	var r gatewayv1.HTTPRoute
	if err := b.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "load-0"}, &r); err != nil {
		return err
	}
	next := route("load", 0, service)
	next.ResourceVersion = r.ResourceVersion
	err := b.client.Update(ctx, next)
	if err != nil && strings.Contains(err.Error(), "the object has been modified") { // its status was written meanwhile
		return b.change(ctx, service)
	}
	return err
}
