package metricsapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/topology"
	"github.com/escale-dev/escale/internal/signal/usage"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Config of the server.
type Config struct {
	// Listener is where the API server reaches it. Its address must be one that an EndpointSlice may name: not loopback.
	Listener net.Listener
	// Kube asks for the front proxy's authority and whether users may; Client registers the API.
	Kube   kubernetes.Interface
	Client client.Client
	// Nodes reads Node objects.
	Nodes client.Reader

	Store    *signal.Store
	Topology *topology.Index
	Usage    *usage.Tracker
	Log      *slog.Logger
}

const (
	readTimeout = 10 * time.Second
	// stopTimeout is how long requests may finish.
	stopTimeout = 2 * time.Second
	// maxHeader is far more than the front proxy sends.
	maxHeader = 64 << 10
)

// Server serves the metrics APIs.
type Server struct {
	cfg Config
}

// New makes a server. It owns the listener.
func New(c Config) *Server { return &Server{cfg: c} }

// Start serves and registers the APIs, until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	defer s.cfg.Listener.Close()
	front, err := readFrontProxy(ctx, s.cfg.Kube)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	cert, bundle, err := servingCertificate(serverName, time.Now())
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	routes, err := s.routes()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           front.authenticate(newReviewer(s.cfg.Kube).authorize(routes)),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	listener := tls.NewListener(s.cfg.Listener, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: front.pool,
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := register(ctx, s.cfg.Client, s.cfg.Listener.Addr(), bundle); err != nil && ctx.Err() == nil {
		// The signals do not depend on who else can read them.
		s.cfg.Log.Error("metrics APIs not registered: kubectl top and HorizontalPodAutoscalers do without them", "err", err)
	}
	select {
	case err := <-served:
		return fmt.Errorf("serving metrics: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping to serve metrics: %w", err)
	}
	return nil
}

// NeedLeaderElection makes it run everywhere: it serves what this process knows.
func (s *Server) NeedLeaderElection() bool { return false }

// routes are the paths served. What is not here does not exist.
func (s *Server) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis", discovery)
	for _, g := range groups {
		mux.HandleFunc("GET /apis/"+g.name, serveJSON(g.group()))
		mux.HandleFunc("GET /apis/"+g.name+"/"+version, serveJSON(g.list()))
	}
	const metrics = "GET /apis/" + metricsGroup + "/" + version
	mux.HandleFunc(metrics+"/nodes", s.listNodes)
	mux.HandleFunc(metrics+"/nodes/{name}", s.getNode)
	mux.HandleFunc(metrics+"/pods", s.listPods)
	mux.HandleFunc(metrics+"/namespaces/{namespace}/pods", s.listPods)
	mux.HandleFunc(metrics+"/namespaces/{namespace}/pods/{name}", s.getPod)
	mux.HandleFunc("GET /apis/"+externalGroup+"/"+version+"/namespaces/{namespace}/{metric}", s.external)
	return mux, describe(mux)
}
