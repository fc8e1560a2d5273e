package trigger

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/escale-dev/escale/internal/scale/trigger/externalscaler"
)

// externalBackoff tries a scaler that is down again within seconds.
var externalBackoff = backoff.Config{BaseDelay: 1e9 / 4, Multiplier: 1.6, Jitter: .2, MaxDelay: 3e9}

// Watch listens to the scaler's two streams. That of the targets is optional.
func (e *externalPush) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.closed, cancel)()
	var mu sync.Mutex
	tell := func() {
		mu.Lock()
		defer mu.Unlock()
		changed()
	}
	specs := make(chan struct{})
	go func() {
		defer close(specs)
		e.watchSpecs(ctx, tell)
	}()
	err := e.watchActive(ctx, tell)
	ended := ctx.Err() != nil
	cancel()
	<-specs
	switch {
	case ended:
		return nil
	case status.Code(err) == codes.Unimplemented:
		return ErrNoPush
	case errors.Is(err, io.EOF):
		return errors.New("the scaler ended the stream StreamIsActive")
	}
	return e.secrets.scrub(err)
}

func (e *externalPush) watchActive(ctx context.Context, changed func()) error {
	stream, err := e.client.StreamIsActive(ctx, e.object)
	if err != nil {
		return err
	}
	changed()
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		changed()
	}
}

// watchSpecs takes new targets as long as the scaler serves them.
func (e *externalPush) watchSpecs(ctx context.Context, changed func()) {
	stream, err := e.client.StreamMetricSpec(ctx, e.object)
	if err != nil {
		return
	}
	for {
		var spec *pb.GetMetricSpecResponse
		if spec, err = stream.Recv(); err != nil {
			return
		}
		if _, err := e.learn(spec); err == nil {
			changed()
		}
	}
}
