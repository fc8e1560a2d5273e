package trigger

import "time"

// builtin is one type of trigger with a source of its own.
type builtin struct {
	name string
	// every is how often a source is read that does not push. Servers that compute their answer seldom, or charge for
	// it, are asked less often than each second.
	every time.Duration
	new   func(Config) (Source, error)
	// also lists metadata that is read besides the published schema; "*" for any.
	also []string
}

var (
	awsNames = []string{"awsAccessKeyID", "awsAccessKeyIDFromEnv", "awsSecretAccessKeyFromEnv"}
	anyName  = []string{"*"}
)

// builtins lists every type with a source. A type is added here and nowhere else.
var builtins = []builtin{
	{name: "aws-sqs-queue", every: 5 * time.Second, new: newSQS, also: awsNames},
	{name: "azure-servicebus", every: 5 * time.Second, new: newServiceBus, also: []string{"cloud", "endpointSuffix"}},
	{name: "cpu", every: time.Second, new: newUsage},
	{name: "cron", every: time.Second, new: newCron},
	{name: "external", every: time.Second, new: newExternal, also: anyName},
	{name: "external-push", every: time.Second, new: newExternalPush, also: anyName},
	// Google computes these numbers once a minute.
	{name: "gcp-pubsub", every: 15 * time.Second, new: newPubSub},
	{name: "kafka", every: time.Second, new: newKafka, also: awsNames},
	{name: "memory", every: time.Second, new: newUsage},
	{name: "metrics-api", every: time.Second, new: newMetricsAPI},
	{name: "mysql", every: time.Second, new: newMySQL},
	{name: "nats-jetstream", every: time.Second, new: newJetStream},
	{name: "postgresql", every: time.Second, new: newPostgreSQL, also: []string{"notifyChannel"}},
	{name: "prometheus", every: time.Second, new: newPrometheus},
	{name: "rabbitmq", every: time.Second, new: newRabbitMQ},
	{name: "redis", every: time.Second, new: newRedisList},
	{name: "redis-cluster", every: time.Second, new: newRedisList},
	{name: "redis-cluster-streams", every: time.Second, new: newRedisStream},
	{name: "redis-sentinel", every: time.Second, new: newRedisList},
	{name: "redis-sentinel-streams", every: time.Second, new: newRedisStream},
	{name: "redis-streams", every: time.Second, new: newRedisStream},
	{name: TypeRequests, every: time.Second, new: newRequests},
}

func find(name string) (builtin, bool) {
	for _, b := range builtins {
		if b.name == name {
			return b, true
		}
	}
	return builtin{}, false
}

// Types lists the types that are built in.
func Types() []string {
	names := make([]string, len(builtins))
	for i, b := range builtins {
		names[i] = b.name
	}
	return names
}

// Every is how often to read a source of this type that does not push: one second, or longer where the server's own
// numbers are older than that or cost money.
func Every(name string) time.Duration {
	if b, ok := find(name); ok {
		return b.every
	}
	return time.Second
}

// New checks a trigger's configuration and makes its source, without connecting. The error says which field is wrong and
// what to write instead; it is ErrNotBuiltIn for a type that KEDA has and Escale has not.
func New(c Config) (Source, error) {
	b, ok := find(c.Type)
	if !ok {
		return nil, c.foreign().Err
	}
	source, err := b.new(c)
	if err != nil {
		return nil, c.refused(err)
	}
	return source, nil
}
