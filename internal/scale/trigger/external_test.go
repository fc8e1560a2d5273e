package trigger

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	pb "github.com/escale-dev/escale/internal/scale/trigger/externalscaler"
)

// scaler is an external scaler as others write them.
type scaler struct {
	pb.UnimplementedExternalScalerServer

	mu      sync.Mutex
	waiting int64
	changed chan struct{}
	seen    map[string]string
}

func (s *scaler) set(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = int64(n)
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

func (s *scaler) now() (int64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting, s.changed
}

func (s *scaler) IsActive(_ context.Context, object *pb.ScaledObjectRef) (*pb.IsActiveResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = object.GetScalerMetadata()
	if object.GetName() != "worker" || object.GetNamespace() != "shop" {
		return nil, fmt.Errorf("asked for %s/%s", object.GetNamespace(), object.GetName())
	}
	return &pb.IsActiveResponse{Result: s.waiting > 0}, nil
}

func (s *scaler) GetMetricSpec(context.Context, *pb.ScaledObjectRef) (*pb.GetMetricSpecResponse, error) {
	return &pb.GetMetricSpecResponse{MetricSpecs: []*pb.MetricSpec{{MetricName: "backlog", TargetSize: 2, TargetSizeFloat: 2.5}}}, nil
}

func (s *scaler) GetMetrics(_ context.Context, request *pb.GetMetricsRequest) (*pb.GetMetricsResponse, error) {
	if request.GetMetricName() != "backlog" {
		return nil, fmt.Errorf("asked for the metric %q", request.GetMetricName())
	}
	waiting, _ := s.now()
	return &pb.GetMetricsResponse{MetricValues: []*pb.MetricValue{{MetricName: "backlog", MetricValue: waiting}}}, nil
}

func (s *scaler) StreamIsActive(_ *pb.ScaledObjectRef, stream grpc.ServerStreamingServer[pb.IsActiveResponse]) error {
	for {
		waiting, changed := s.now()
		if err := stream.Send(&pb.IsActiveResponse{Result: waiting > 0}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

func TestExternal(t *testing.T) {
	for _, kind := range []string{"external", "external-push"} {
		t.Run(kind, func(t *testing.T) {
			f := fixture{metric: "s2-backlog", target: 2.5, pushes: kind == "external-push"}
			server := &scaler{}
			server.set(0)
			f.set = func(_ *testing.T, n int) { server.set(n) }
			address := standIn(t, &f, func(listener net.Listener) func() {
				program := grpc.NewServer()
				pb.RegisterExternalScalerServer(program, server)
				go func() { _ = program.Serve(listener) }()
				return program.Stop
			})
			f.config = Config{Type: kind, Metadata: map[string]string{"scalerAddress": address, "queue": "orders", "tokenFromEnv": "TOKEN"}, Env: map[string]string{"TOKEN": "secret"}}
			conform(t, f)
			if server.seen["queue"] != "orders" || server.seen["tokenFromEnv"] != "secret" {
				t.Errorf("the scaler was told %v, want the metadata with the variable's value", server.seen)
			}
		})
	}
}

func TestExternalPushWithoutStream(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	program := grpc.NewServer()
	pb.RegisterExternalScalerServer(program, pb.UnimplementedExternalScalerServer{})
	go func() { _ = program.Serve(listener) }()
	defer program.Stop()
	source, err := New(Config{Type: "external-push", Metadata: map[string]string{"scalerAddress": listener.Addr().String()}})
	must(t, err)
	defer source.Close()
	if err := source.(Pusher).Watch(t.Context(), func() {}); err == nil || err.Error() != ErrNoPush.Error() {
		t.Errorf("error %v, want ErrNoPush", err)
	}
}
