package trigger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// redisSource counts what waits under one key. Changes of the key are pushed.
type redisSource struct {
	*probe
	client redis.UniversalClient
	key    string
}

// newRedisList counts the elements of a list, set, sorted set or hash.
func newRedisList(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	metric, err := c.metric("redis-"+v.Text("listName"), "listLength", float64(v.Int("listLength")))
	if err != nil {
		return nil, err
	}
	s, err := c.redis(v, metric, v.Text("listName"))
	if err != nil {
		return nil, err
	}
	s.ask = func(ctx context.Context) (sample, error) {
		length, err := s.length(ctx)
		return sample{value: length, active: length > float64(v.Int("activationListLength"))}, err
	}
	return s, nil
}

// length asks for the length by the key's type.
func (s *redisSource) length(ctx context.Context) (float64, error) {
	kind, err := s.client.Type(ctx, s.key).Result()
	if err != nil {
		return 0, err
	}
	var length *redis.IntCmd
	switch kind {
	case "none", "list":
		length = s.client.LLen(ctx, s.key)
	case "set":
		length = s.client.SCard(ctx, s.key)
	case "zset":
		length = s.client.ZCard(ctx, s.key)
	case "hash":
		length = s.client.HLen(ctx, s.key)
	default:
		return 0, fmt.Errorf("key %q is a %s; use a list, set, sorted set or hash, or a streams trigger", s.key, kind)
	}
	n, err := length.Result()
	return float64(n), err
}

// newRedisStream counts the entries of a stream that wait: those a group has not got yet (lagCount), those it has and
// did not acknowledge (pendingEntriesCount), or all (streamLength).
func newRedisStream(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	stream, group := v.Text("stream"), v.Text("consumerGroup")
	field := streamField(v)
	metric, err := c.metric("redis-streams-"+stream, field, float64(v.Int(field)))
	if err != nil {
		return nil, err
	}
	s, err := c.redis(v, metric, stream)
	if err != nil {
		return nil, err
	}
	s.ask = func(ctx context.Context) (sample, error) {
		count, err := s.entries(ctx, field, group)
		return sample{value: count, active: count > float64(v.Int("activationLagCount"))}, err
	}
	return s, nil
}

// streamField names the parameter that is the target.
func streamField(v schema.Values) string {
	switch {
	case v.Text("consumerGroup") == "":
		return "streamLength"
	case v.Int("lagCount") != 0:
		return "lagCount"
	}
	return "pendingEntriesCount"
}

func (s *redisSource) entries(ctx context.Context, field, group string) (float64, error) {
	switch field {
	case "streamLength":
		n, err := s.client.XLen(ctx, s.key).Result()
		return float64(n), err
	case "lagCount":
		return s.lag(ctx, group)
	}
	pending, err := s.client.XPending(ctx, s.key, group).Result()
	if err != nil {
		return 0, err
	}
	return float64(pending.Count), nil
}

// lag is what a group has not been given yet. Before the group exists, that is the whole stream: its first consumer
// makes the group.
func (s *redisSource) lag(ctx context.Context, group string) (float64, error) {
	groups, err := s.client.XInfoGroups(ctx, s.key).Result()
	if err != nil && strings.Contains(err.Error(), "no such key") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, g := range groups {
		if g.Name == group && g.Lag >= 0 {
			return float64(g.Lag), nil
		}
		if g.Name == group {
			return s.after(ctx, g.LastDeliveredID)
		}
	}
	n, err := s.client.XLen(ctx, s.key).Result()
	return float64(n), err
}

// mostCounted bounds how many entries are counted one by one.
const mostCounted = 1000

// after counts the entries behind an ID. Redis does not know the lag of a group that began in the middle of a stream
// until the group has read something, which a workload at zero never does.
func (s *redisSource) after(ctx context.Context, id string) (float64, error) {
	entries, err := s.client.XRangeN(ctx, s.key, "("+id, "+", mostCounted).Result()
	return float64(len(entries)), err
}

// quietRedis stops the client from writing to the standard error: every failure is an error of Read as well.
var quietRedis = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// redisBuffer is the size of each of a connection's two buffers: questions and answers are short, and triggers many.
const redisBuffer = 2 << 10

// redis makes the client for one of the three ways to run Redis, which the type's name tells.
func (c Config) redis(v schema.Values, metric Metric, key string) (*redisSource, error) {
	addresses, err := redisAddresses(v)
	if err != nil {
		return nil, err
	}
	options := &redis.UniversalOptions{
		Addrs: addresses, Username: v.Text("username"), Password: v.Text("password"), DB: int(v.Int("databaseIndex")),
		PoolSize: 2, MaxIdleConns: 1, MinIdleConns: 0, MaxRetries: 1, DialTimeout: readLimit, ReadTimeout: readLimit, ContextTimeoutEnabled: true,
		DialerRetries: 1, ConnMaxIdleTime: 5 * time.Minute,
		ReadBufferSize: redisBuffer, WriteBufferSize: redisBuffer,
	}
	if err := redisTLS(v, options); err != nil {
		return nil, err
	}
	options.Dialer = c.Dialer.over(options.TLSConfig)
	quietRedis()
	s := &redisSource{probe: c.probe(metric, v), key: key}
	switch {
	case strings.Contains(c.Type, "cluster"):
		s.client = redis.NewClusterClient(options.Cluster())
	case strings.Contains(c.Type, "sentinel"):
		options.MasterName = v.Text("sentinelMaster")
		options.SentinelUsername, options.SentinelPassword = v.Text("sentinelUsername"), v.Text("sentinelPassword")
		s.client = redis.NewFailoverClient(options.Failover())
	default:
		options.Addrs = addresses[:1]
		s.client = redis.NewClient(options.Simple())
	}
	s.free = s.client.Close
	return s, nil
}

func redisAddresses(v schema.Values) ([]string, error) {
	addresses := v.List("address")
	hosts, ports := v.List("host"), v.List("port")
	if len(hosts) > 0 && len(ports) > 0 && len(hosts) != len(ports) {
		return nil, fmt.Errorf("%d hosts and %d ports; give as many ports as hosts", len(hosts), len(ports))
	}
	for i := range min(len(hosts), len(ports)) {
		addresses = append(addresses, net.JoinHostPort(hosts[i], ports[i]))
	}
	if len(addresses) == 0 || addresses[0] == "" {
		return nil, errors.New(`no address: set "address" to host:port, or "host" and "port"`)
	}
	return addresses, nil
}

func redisTLS(v schema.Values, options *redis.UniversalOptions) error {
	inMetadata, inAuth := v.Text("enableTLS"), v.Text("tls")
	if inMetadata != "" && inAuth != "" {
		return errors.New(`TLS is set twice: leave out "enableTLS" in the metadata or "tls" in the TriggerAuthentication`)
	}
	on := inAuth == "enable"
	if inAuth != "" && !on && inAuth != "disable" {
		return errors.New(`"tls" in the TriggerAuthentication must be enable or disable`)
	}
	if inMetadata != "" {
		var err error
		if on, err = strconv.ParseBool(inMetadata); err != nil {
			return errors.New(`"enableTLS" must be true or false`)
		}
	}
	if !on {
		return nil
	}
	trust := certificates{v.Text("cert"), v.Text("key"), v.Text("keyPassword"), v.Text("ca"), v.Bool("unsafeSsl")}
	var err error
	options.TLSConfig, err = trust.config()
	return err
}
