// Package service is what the shop's Go services have in common: an HTTP server with health, metrics and a log line per
// request, a connection to the database, and an end that loses no request.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

const (
	// linger is how long a service goes on taking requests after SIGTERM: those sent before everyone knew.
	linger = time.Second
	// finish is how long requests that run at the end of linger may take.
	finish = 15 * time.Second
	// maxBody is the most a request may hold.
	maxBody = 64 << 10
)

var duration = promauto.NewHistogramVec(prometheus.HistogramOpts{
	Name: "http_request_duration_seconds", Help: "Time to answer, by route and status.",
	Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
}, []string{"route", "code"})

// Service is a program that answers on $HOST:$PORT and keeps its data in the Redis at $DATABASE.
type Service struct {
	Name  string
	Mux   *http.ServeMux
	Redis *redis.Client
	// Work, if set, runs beside the server until ctx ends.
	Work func(ctx context.Context)
	// Stopping is done once the service has been told to stop. Answers without an end stop then.
	Stopping context.Context
}

// Main runs the service that setup completes, until SIGTERM.
func Main(name string, setup func(*Service)) {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)).With("service", name))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &Service{
		Name: name, Mux: http.NewServeMux(), Stopping: ctx,
		Redis: redis.NewClient(&redis.Options{Addr: Env("DATABASE", "database:6379"), ContextTimeoutEnabled: true,
			DialTimeout: time.Second, DialerRetries: 1, ReadTimeout: time.Second, MaxRetries: 1}),
	}
	redis.SetLogger(redisLog{})
	setup(s)
	s.Mux.HandleFunc("GET /healthz", s.health)
	s.Mux.Handle("GET /metrics", inside(promhttp.Handler()))
	if err := s.run(ctx); err != nil {
		slog.Error("stopped", "error", err)
		os.Exit(1)
	}
	slog.Info("stopped")
}

// redisLog has the Redis client write the same kind of log.
type redisLog struct{}

func (redisLog) Printf(_ context.Context, format string, v ...any) {
	slog.Warn("database client", "message", fmt.Sprintf(format, v...))
}

// run serves until ctx ends, then finishes what it has begun.
func (s *Service) run(ctx context.Context) error {
	ln, err := net.Listen("tcp", net.JoinHostPort(Env("HOST", ""), Env("PORT", "8080")))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if s.Work != nil {
			s.Work(ctx)
		}
	}()
	slog.Info("serving", "address", ln.Addr().String())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		slog.Info("stopping")
		time.Sleep(linger)
	}
	end, cancel := context.WithTimeout(context.Background(), finish)
	defer cancel()
	err = srv.Shutdown(end)
	<-worked
	return errors.Join(err, s.Redis.Close())
}

// handler wraps every route with the limit, the measurement and the log line.
func (s *Service) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		if s.Stopping.Err() != nil {
			w.Header().Set("Connection", "close") // the next request goes to another replica
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		s.Mux.ServeHTTP(rec, r)
		took := time.Since(begun)
		duration.WithLabelValues(r.Pattern, strconv.Itoa(rec.code)).Observe(took.Seconds())
		if r.Pattern != "GET /healthz" && r.Pattern != "GET /metrics" {
			slog.Info("request", "method", r.Method, "path", r.URL.Path, "status", rec.code, "ms", took.Milliseconds())
		}
	})
}

// health answers 200 when the service can serve: it is not stopping, and its database answers.
func (s *Service) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if s.Stopping.Err() != nil {
		Fail(w, http.StatusServiceUnavailable, "stopping")
	} else if err := s.Redis.Ping(ctx).Err(); err != nil {
		Fail(w, http.StatusServiceUnavailable, "the database does not answer: "+err.Error())
	} else {
		io.WriteString(w, "ok\n")
	}
}

// Health makes the health check reachable through the gateway, below the service's own path.
func (s *Service) Health(path string) { s.Mux.HandleFunc("GET "+path, s.health) }

// inside hides what only monitoring should see from requests that came through a gateway.
func inside(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-For") != "" {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Env is an environment variable or, where it is not set, what to use instead.
func Env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// JSON answers with v.
func JSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Warn("answer not written", "error", err)
	}
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, code int, message string) {
	JSON(w, code, map[string]string{"error": message})
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) { r.code = code; r.ResponseWriter.WriteHeader(code) }

// Unwrap lets http.ResponseController flush through the recorder.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
