package trigger

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/escale-dev/escale/internal/scale/trigger/triggertest"
	"github.com/escale-dev/escale/internal/signal"
)

// patience is how long a test waits for what must happen; nothing is measured by it.
const patience = 30 * time.Second

// fixture is one source with its server.
type fixture struct {
	config Config
	// make replaces New where a test must reach its own server.
	make func(Config) (Source, error)
	// metric is the name and target that the source must have.
	metric string
	target float64
	// set makes the server hold so much work.
	set func(t *testing.T, n int)
	// stop and start end and bring back the server.
	stop, start func(t *testing.T)
	// pushes says that a change must be told.
	pushes bool
}

// conform checks what every source owes its callers. The server holds nothing at first.
func conform(t *testing.T, f fixture) {
	t.Helper()
	before := runtime.NumGoroutine()
	f.config.Index = 2
	f.config.Object = types.NamespacedName{Namespace: "shop", Name: "worker"}
	f.config.Workload = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "worker"}
	if f.make == nil {
		f.make = New
	}
	if verdict := Verdict(f.config); verdict.Err != nil || len(verdict.Notes) > 0 {
		t.Fatalf("verdict %v, want the trigger accepted without notes", verdict)
	}
	source, err := f.make(f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	f.reads(t, source)
	f.cancels(t, source)
	if f.pushes {
		f.tells(t, source)
	}
	f.survives(t, source)
	f.ends(t, source, before)
}

func (f fixture) reads(t *testing.T, source Source) {
	t.Helper()
	got := mustRead(t, source)
	if got.Value != 0 || got.Active {
		t.Errorf("idle: value %v, active %v, want 0 and not active", got.Value, got.Active)
	}
	if got.Name != f.metric || got.Target != f.target {
		t.Errorf("metric %q with target %v, want %q with %v", got.Name, got.Target, f.metric, f.target)
	}
	f.set(t, 7)
	expect(t, source, 7)
	if metrics := source.Metrics(); len(metrics) != 1 || metrics[0] != got.Metric {
		t.Errorf("metrics %v, want %v", metrics, got.Metric)
	}
	if got := mustRead(t, source); !got.Active || got.At.IsZero() {
		t.Errorf("at work: active %v at %v, want active and a time", got.Active, got.At)
	}
}

func (f fixture) cancels(t *testing.T, source Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Read(ctx); err == nil {
		t.Error("a read with an ended context succeeded")
	}
	// What was cut off must not spoil the next read.
	expect(t, source, 7)
}

// tells checks that a change is told while nothing is read.
func (f fixture) tells(t *testing.T, source Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		done <- source.(Pusher).Watch(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	await(t, told, "the beginning of the watch")
	f.set(t, 4)
	for value := -1.0; value != 4; value = mustRead(t, source).Value {
		await(t, told, "the change")
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the watch ended with %v, want nil", err)
		}
	case <-time.After(patience):
		t.Fatal("the watch does not end with its context")
	}
}

func await(t *testing.T, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatalf("not told of %s", what)
	}
}

// survives checks that a server which is down is an error, without secrets, and that its return is noticed.
func (f fixture) survives(t *testing.T, source Source) {
	t.Helper()
	f.stop(t)
	_, err := source.Read(t.Context())
	if err == nil {
		t.Fatal("a read succeeded though the server is down")
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "guest:") {
		t.Errorf("error %q holds a secret", err)
	}
	f.start(t)
	f.set(t, 3)
	expect(t, source, 3)
}

// ends checks that Close gives everything back.
func (f fixture) ends(t *testing.T, source Source, before int) {
	t.Helper()
	if err := source.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if err := source.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if _, err := source.Read(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close gave %v, want ErrClosed", err)
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before+allowance })
}

// allowance is how many goroutines a test's own stand-in server may have more than before.
const allowance = 3

// expect reads until the value is there: servers may show a change a little later.
func expect(t *testing.T, source Source, value float64) {
	t.Helper()
	var last Reading
	var err error
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var readings []Reading
		if readings, err = source.Read(t.Context()); err == nil && len(readings) == 1 {
			if last = readings[0]; last.Value == value {
				return
			}
		}
		select {
		case <-deadline:
			t.Fatalf("value %v, error %v, want %v", last.Value, err, value)
		case <-tick.C:
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			stacks := make([]byte, 1<<16)
			t.Fatalf("waited in vain until %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		case <-tick.C:
		}
	}
}

func mustRead(t *testing.T, source Source) Reading {
	t.Helper()
	readings, err := source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(readings) != 1 {
		t.Fatalf("%d readings, want 1", len(readings))
	}
	return readings[0]
}

// realServer runs a server of the machine and lets the fixture stop and start it.
func realServer(t *testing.T, prepare triggertest.Maker, f *fixture) *triggertest.Server {
	t.Helper()
	server := triggertest.Run(t, prepare)
	f.stop = func(t *testing.T) {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	f.start = func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		if err := server.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// standIn serves a handler on a port that stays the same when it is stopped and started.
func standIn(t *testing.T, f *fixture, serve func(net.Listener) (stop func())) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	stop := serve(listener)
	f.stop = func(*testing.T) { stop() }
	f.start = func(t *testing.T) {
		again, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		stop = serve(again)
	}
	t.Cleanup(func() { stop() })
	return address
}

// overHTTP serves a handler with the given function.
func overHTTP(handler http.Handler) func(net.Listener) func() {
	return func(listener net.Listener) func() {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(listener) }()
		return func() { server.Close() }
	}
}
