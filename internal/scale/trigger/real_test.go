package trigger

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/escale-dev/escale/internal/scale/trigger/triggertest"
)

func TestRabbitMQ(t *testing.T) {
	f := fixture{metric: "s2-rabbitmq-orders", target: 5}
	server := realServer(t, triggertest.RabbitMQ, &f)
	f.set = func(t *testing.T, n int) { fillRabbit(t, server.Address, "orders", n) }
	f.set(t, 0)
	t.Run("over AMQP", func(t *testing.T) {
		f := f
		f.config = Config{Type: "rabbitmq", Metadata: map[string]string{"queueName": "orders", "mode": "QueueLength", "value": "5", "hostFromEnv": "URL"},
			Env: map[string]string{"URL": "amqp://guest:guest@" + server.Address + "/"}}
		conform(t, f)
	})
	f.set(t, 0)
	t.Run("over the management API", func(t *testing.T) {
		f := f
		f.config = Config{Type: "rabbitmq", Metadata: map[string]string{"queueName": "orders", "queueLength": "5", "host": "http://" + server.Admin + "/"},
			Auth: map[string]string{"username": "guest", "password": "guest"}}
		conform(t, f)
	})
	t.Run("a queue that does not exist", func(t *testing.T) {
		source, err := New(Config{Type: "rabbitmq", Metadata: map[string]string{"queueName": "late", "host": "amqp://guest:guest@" + server.Address}})
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		if _, err := source.Read(t.Context()); err == nil {
			t.Error("a queue that does not exist was counted")
		}
		fillRabbit(t, server.Address, "late", 2)
		expect(t, source, 2)
	})
}

// fillRabbit makes a durable queue hold so many messages.
func fillRabbit(t *testing.T, address, queue string, n int) {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := channel.QueuePurge(queue, false); err != nil {
		t.Fatal(err)
	}
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range n {
		confirmed, err := channel.PublishWithDeferredConfirmWithContext(t.Context(), "", queue, false, false, amqp.Publishing{Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := confirmed.WaitContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedis(t *testing.T) {
	f := fixture{pushes: true}
	server := realServer(t, triggertest.Redis("--requirepass", "secret"), &f)
	client := redis.NewClient(&redis.Options{Addr: server.Address, Password: "secret"})
	defer client.Close()
	auth := map[string]string{"password": "secret"}
	list := func(t *testing.T, n int) {
		must(t, client.Del(t.Context(), "orders").Err())
		for range n {
			must(t, client.RPush(t.Context(), "orders", "x").Err())
		}
	}
	stream := func(t *testing.T, n int) {
		must(t, client.Del(t.Context(), "events").Err())
		for range n {
			must(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: "events", Values: []string{"k", "v"}}).Err())
		}
	}
	t.Run("a list", func(t *testing.T) {
		f := f
		f.set, f.metric, f.target = list, "s2-redis-orders", 10
		f.config = Config{Type: "redis", Auth: auth, Metadata: map[string]string{"address": server.Address, "listName": "orders", "listLength": "10"}}
		conform(t, f)
	})
	t.Run("a stream's length", func(t *testing.T) {
		f := f
		f.set, f.metric, f.target = stream, "s2-redis-streams-events", 5
		stream(t, 0)
		f.config = Config{Type: "redis-streams", Auth: auth, Metadata: map[string]string{"address": server.Address, "stream": "events"}}
		conform(t, f)
	})
	t.Run("a group's lag", func(t *testing.T) {
		f := f
		f.metric, f.target = "s2-redis-streams-events", 3
		f.set = func(t *testing.T, n int) {
			stream(t, 2)
			must(t, client.XGroupCreate(t.Context(), "events", "workers", "$").Err())
			for range n {
				must(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: "events", Values: []string{"k", "v"}}).Err())
			}
		}
		stream(t, 0)
		f.config = Config{Type: "redis-streams", Auth: auth, Metadata: map[string]string{"address": server.Address, "stream": "events", "consumerGroup": "workers", "lagCount": "3"}}
		conform(t, f)
	})
	t.Run("a group's pending entries", func(t *testing.T) {
		stream(t, 4)
		must(t, client.XGroupCreate(t.Context(), "events", "slow", "0").Err())
		must(t, client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "slow", Consumer: "c", Streams: []string{"events", ">"}, Count: 3}).Err())
		source, err := New(Config{Type: "redis-streams", Auth: auth, Metadata: map[string]string{"address": server.Address, "stream": "events", "consumerGroup": "slow"}})
		must(t, err)
		defer source.Close()
		expect(t, source, 3)
	})
	t.Run("other types of keys", func(t *testing.T) {
		must(t, client.SAdd(t.Context(), "set", "a", "b").Err())
		must(t, client.HSet(t.Context(), "hash", "a", "b").Err())
		must(t, client.ZAdd(t.Context(), "zset", redis.Z{Score: 1, Member: "a"}).Err())
		for key, size := range map[string]float64{"set": 2, "hash": 1, "zset": 1} {
			source, err := New(Config{Type: "redis", Auth: auth, Metadata: map[string]string{"address": server.Address, "listName": key}})
			must(t, err)
			expect(t, source, size)
			must(t, source.Close())
		}
	})
}

func TestRedisCluster(t *testing.T) {
	f := fixture{pushes: true, metric: "s2-redis-orders", target: 5}
	server := realServer(t, triggertest.Redis("--cluster-enabled", "yes"), &f)
	client := redis.NewClient(&redis.Options{Addr: server.Address})
	defer client.Close()
	must(t, client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	f.set = func(t *testing.T, n int) {
		eventually(t, "the cluster serves", func() bool { return client.Del(t.Context(), "orders").Err() == nil })
		for range n {
			must(t, client.RPush(t.Context(), "orders", "x").Err())
		}
	}
	f.set(t, 0)
	f.config = Config{Type: "redis-cluster", Metadata: map[string]string{"addresses": server.Address, "listName": "orders"}}
	conform(t, f)
}

func TestRedisSentinel(t *testing.T) {
	f := fixture{pushes: true, metric: "s2-redis-streams-events", target: 5}
	server := realServer(t, triggertest.Redis(), &f)
	sentinel := triggertest.Run(t, triggertest.Sentinel(server.Address))
	client := redis.NewClient(&redis.Options{Addr: server.Address})
	defer client.Close()
	f.set = func(t *testing.T, n int) {
		must(t, client.Del(t.Context(), "events").Err())
		for range n {
			must(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: "events", Values: []string{"k", "v"}}).Err())
		}
	}
	f.set(t, 0)
	f.config = Config{Type: "redis-sentinel-streams", Metadata: map[string]string{"addresses": sentinel.Address, "sentinelMaster": "main", "stream": "events"}}
	conform(t, f)
}

func TestPostgreSQL(t *testing.T) {
	f := fixture{metric: "s2-postgresql", target: 2.5, pushes: true}
	server := realServer(t, triggertest.PostgreSQL, &f)
	address := "postgres://postgres:postgres@" + server.Address + "/postgres"
	f.set = func(t *testing.T, n int) {
		conn, err := pgx.Connect(t.Context(), address)
		must(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = conn.Exec(t.Context(), fmt.Sprintf("CREATE TABLE IF NOT EXISTS jobs (n int); TRUNCATE jobs; INSERT INTO jobs SELECT generate_series(1, %d); NOTIFY jobs", n))
		must(t, err)
	}
	f.set(t, 0)
	host, port := splitPort(t, server.Address)
	f.config = Config{Type: "postgresql", Auth: map[string]string{"password": "postgres"}, Metadata: map[string]string{
		"host": host, "port": port, "userName": "postgres", "dbName": "postgres", "sslmode": "disable",
		"query": "SELECT count(*) FROM jobs", "targetQueryValue": "2.5", "notifyChannel": "jobs"}}
	conform(t, f)
	t.Run("a query without a value", func(t *testing.T) {
		for query, wrong := range map[string]string{"SELECT n FROM jobs WHERE false": "gives no row", "SELECT max(n) FROM jobs WHERE false": "gives NULL"} {
			source, err := New(Config{Type: "postgresql", Env: map[string]string{"URL": address}, Metadata: map[string]string{"connectionFromEnv": "URL", "query": query, "targetQueryValue": "1"}})
			must(t, err)
			_, err = source.Read(t.Context())
			contains(t, err, wrong)
			must(t, source.Close())
		}
	})
}
