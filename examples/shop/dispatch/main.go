// Dispatch is the worker behind the queue: it packs and ships what was paid. A job is in the queue or in the list of
// the worker that has it, never in neither; the list of a worker that died goes back into the queue.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/escale-dev/escale/examples/shop/internal/order"
	"github.com/escale-dev/escale/examples/shop/internal/service"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
)

const (
	hands = 8 // how many orders one worker packs at a time
	lists = "dispatch:worker:"
	alive = "dispatch:alive:"
)

var jobs = promauto.NewCounter(prometheus.CounterOpts{Name: "shop_jobs_total", Help: "Orders shipped by this worker."})

type dispatch struct {
	*service.Service
	name  string        // of this worker
	step  time.Duration // packing takes one, shipping another
	lease time.Duration // a worker not heard of for so long is dead
}

func main() {
	service.Main("dispatch", func(s *service.Service) {
		host, _ := os.Hostname()
		d := &dispatch{s, host + "-" + rand.Text(), duration("STEP", "1500ms"), duration("LEASE", "10s")}
		s.Work = d.work
		s.Mux.HandleFunc("GET /api/dispatch", d.show)
		s.Health("/api/dispatch/healthz")
		promauto.NewGaugeFunc(prometheus.GaugeOpts{Name: "shop_queue_depth", Help: "Orders waiting to be packed."}, d.depth)
	})
}

// work packs with all hands until ctx ends, then returns what is unfinished to the queue.
func (d *dispatch) work(ctx context.Context) {
	d.keepAlive(ctx)
	var all sync.WaitGroup
	for range hands {
		all.Go(func() {
			for ctx.Err() == nil {
				d.next(ctx)
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			d.keepAlive(ctx)
			d.sweep(ctx)
			wait(ctx, d.lease/4)
		}
	})
	all.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	d.giveBack(ctx, d.name)
}

// next takes the oldest job and ships it, however often the database has to be asked.
func (d *dispatch) next(ctx context.Context) {
	id, err := d.Redis.BLMove(ctx, order.Queue, lists+d.name, "RIGHT", "LEFT", time.Second).Result()
	if errors.Is(err, redis.Nil) {
		return
	}
	if err == nil {
		err = d.ship(ctx, id)
	}
	for err != nil && wait(ctx, time.Second) {
		slog.Warn("job not done, trying again", "order", id, "error", err)
		if id == "" {
			return
		}
		err = d.ship(ctx, id)
	}
}

// ship continues from the state the order is in: another worker may have begun.
func (d *dispatch) ship(ctx context.Context, id string) error {
	o, err := order.Load(ctx, d.Redis, id)
	if errors.Is(err, order.ErrNotFound) {
		slog.Warn("a job without an order was dropped", "order", id)
		return d.Redis.LRem(ctx, lists+d.name, 1, id).Err()
	}
	if err != nil {
		return err
	}
	if o.State == order.Paid {
		if err := d.advance(ctx, id, order.Paid, order.Packed); err != nil {
			return err
		}
	}
	if o.State != order.Shipped {
		if err := d.advance(ctx, id, order.Packed, order.Shipped); err != nil {
			return err
		}
		jobs.Inc()
	}
	return d.Redis.LRem(ctx, lists+d.name, 1, id).Err()
}

func (d *dispatch) advance(ctx context.Context, id, from, to string) error {
	if !wait(ctx, d.step) {
		return ctx.Err()
	}
	slog.Info("order moved", "order", id, "state", to)
	return order.Advance(ctx, d.Redis, id, from, to)
}

func (d *dispatch) keepAlive(ctx context.Context) {
	if err := d.Redis.Set(ctx, alive+d.name, "", d.lease).Err(); err != nil && ctx.Err() == nil {
		slog.Warn("the database does not answer", "error", err)
	}
}

// sweep gives the jobs of dead workers back.
func (d *dispatch) sweep(ctx context.Context) {
	found := d.Redis.Scan(ctx, 0, lists+"*", 100).Iterator()
	for found.Next(ctx) {
		worker := strings.TrimPrefix(found.Val(), lists)
		if n, err := d.Redis.Exists(ctx, alive+worker).Result(); err == nil && n == 0 {
			d.giveBack(ctx, worker)
		}
	}
}

// giveBack moves the worker's jobs to the end of the queue that is taken next.
func (d *dispatch) giveBack(ctx context.Context, worker string) {
	for d.Redis.LMove(ctx, lists+worker, order.Queue, "LEFT", "RIGHT").Err() == nil {
		slog.Info("job returned to the queue", "worker", worker)
	}
}

// show tells how busy dispatch is.
func (d *dispatch) show(w http.ResponseWriter, r *http.Request) {
	queued, err := d.Redis.LLen(r.Context(), order.Queue).Result()
	shipped, err2 := order.ShippedCount(r.Context(), d.Redis)
	if err := errors.Join(err, err2); err != nil {
		service.Fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	service.JSON(w, http.StatusOK, map[string]int64{"queued": queued, "shipped": shipped})
}

func (d *dispatch) depth() float64 {
	ctx, cancel := context.WithTimeout(d.Stopping, time.Second)
	defer cancel()
	return float64(d.Redis.LLen(ctx, order.Queue).Val())
}

// duration is an environment variable that holds one.
func duration(name, otherwise string) time.Duration {
	d, err := time.ParseDuration(service.Env(name, otherwise))
	if err != nil {
		slog.Error("not a duration", "variable", name, "error", err)
		os.Exit(1)
	}
	return d
}

// wait tells whether the time passed before ctx ended.
func wait(ctx context.Context, t time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(t):
		return true
	}
}
