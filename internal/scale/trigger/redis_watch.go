package trigger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// watchGap is how long a change is not told again: a busy queue changes with every message.
const watchGap = 100 * time.Millisecond

// Watch is told of the key's changes by Redis itself. It uses what Redis offers to caching clients (CLIENT TRACKING,
// since Redis 6): who has looked at a key gets one message when it changes next. That needs no setting of the server,
// unlike keyspace notifications, and takes nothing from the consumers, unlike a blocking read.
func (s *redisSource) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	err := s.track(ctx, changed)
	if ctx.Err() != nil {
		return nil
	}
	return s.secrets.scrub(err)
}

func (s *redisSource) track(ctx context.Context, changed func()) error {
	node, err := s.node(ctx)
	if err != nil {
		return err
	}
	var listener atomic.Int64
	options := *node.Options()
	options.Protocol, options.PoolSize, options.MinIdleConns = 2, 2, 0
	options.ReadTimeout = -1
	options.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		id, err := conn.ClientID(ctx).Result()
		listener.CompareAndSwap(0, id)
		return err
	}
	client := redis.NewClient(&options)
	defer func() { _ = client.Close() }()
	invalid := client.Subscribe(ctx, "__redis__:invalidate")
	defer func() { _ = invalid.Close() }()
	if _, err := invalid.Receive(ctx); err != nil {
		return err
	}
	looker := client.Conn()
	defer func() { _ = looker.Close() }()
	if err := looker.Do(ctx, "CLIENT", "TRACKING", "ON", "REDIRECT", listener.Load()).Err(); err != nil {
		return untracked(err)
	}
	return s.tell(ctx, invalid, looker, changed)
}

// node is the server that holds the key.
func (s *redisSource) node(ctx context.Context) (*redis.Client, error) {
	switch client := s.client.(type) {
	case *redis.Client:
		return client, nil
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, s.key)
	}
	return nil, ErrNoPush
}

// untracked tells a server that cannot track from a connection that broke.
func untracked(err error) error {
	var answer redis.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", ErrNoPush, err)
	}
	return err
}

// tell looks at the key, so that the next change is told, and passes on what is told.
func (s *redisSource) tell(ctx context.Context, invalid *redis.PubSub, looker *redis.Conn, changed func()) error {
	for {
		if err := looker.Exists(ctx, s.key).Err(); err != nil {
			return err
		}
		// What changed before this look is not told any more.
		changed()
		if _, err := invalid.ReceiveMessage(ctx); err != nil {
			return err
		}
		changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchGap):
		}
	}
}
