package trigger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
	"github.com/escale-dev/escale/internal/signal"
)

func pairs(list ...string) map[string]string {
	m := map[string]string{}
	for _, pair := range list {
		key, value, _ := strings.Cut(pair, "=")
		m[key] = value
	}
	return m
}

func TestVerdict(t *testing.T) {
	rabbit := pairs("queueName=q", "host=amqp://h/")
	redisAt := pairs("address=h:1", "listName=l")
	kafkaAt := pairs("bootstrapServers=h:1", "consumerGroup=g", "topic=t")
	with := func(base map[string]string, more ...string) map[string]string {
		merged := maps.Clone(base)
		maps.Copy(merged, pairs(more...))
		return merged
	}
	cases := []struct {
		reason, kind string
		metadata     map[string]string
		auth         map[string]string
		how          autoscalingv2.MetricTargetType
		// wrong is part of the error; empty if the trigger is right.
		wrong string
	}{
		{"the least", "rabbitmq", rabbit, nil, "", ""},
		{"both ways to say the length", "rabbitmq", with(rabbit, "queueLength=5", "mode=QueueLength"), nil, "", "old way"},
		{"a value without a mode", "rabbitmq", with(rabbit, "value=5"), nil, "", `"mode" is missing`},
		{"a rate over AMQP", "rabbitmq", with(rabbit, "mode=MessageRate", "value=5"), nil, "", "management API"},
		{"a host without a scheme", "rabbitmq", pairs("queueName=q", "host=h:5672"), nil, "", "scheme"},
		{"half a pair", "rabbitmq", rabbit, pairs("username=u"), "", "go together"},
		{"a utilization of a queue", "rabbitmq", rabbit, nil, "Utilization", "use AverageValue or Value"},
		{"a target below zero", "redis", with(redisAt, "listLength=-1"), nil, "", "above 0"},
		{"no address", "redis", pairs("listName=l"), nil, "", "no address"},
		{"hosts without ports", "redis", pairs("listName=l", "hosts=a,b", "ports=1"), nil, "", "2 hosts and 1 ports"},
		{"TLS twice", "redis", with(redisAt, "enableTLS=true"), pairs("tls=enable"), "", "twice"},
		{"idle consumers and a limit", "kafka", with(kafkaAt, "allowIdleConsumers=true", "limitToPartitionsWithLag=true"), nil, "", "exclude each other"},
		{"a password without a user", "kafka", with(kafkaAt, "sasl=plaintext"), pairs("password=p"), "", `"username" is missing`},
		{"Kerberos", "kafka", with(kafkaAt, "sasl=gssapi"), nil, "", "not supported"},
		{"partitions that are none", "kafka", with(kafkaAt, "partitionLimitation=1-x"), nil, "", "partitionLimitation"},
		{"a schedule that is none", "cron", pairs("timezone=UTC", "start=8am", "end=0 9 * * *", "desiredReplicas=1"), nil, "", `"start" is no schedule`},
		{"a zone that is none", "cron", pairs("timezone=Mars", "start=0 8 * * *", "end=0 9 * * *", "desiredReplicas=1"), nil, "", `"timezone"`},
		{"cpu without a metric type", "cpu", pairs("value=60"), nil, "", "use Utilization or AverageValue"},
		{"cpu in percent", "cpu", pairs("value=60"), nil, "Utilization", ""},
		{"memory as a quantity", "memory", pairs("value=256Mi"), nil, "AverageValue", ""},
		{"memory as nonsense", "memory", pairs("value=lots"), nil, "AverageValue", "quantity"},
		{"one container's cpu", "cpu", pairs("value=60", "containerName=app"), nil, "Utilization", "not supported"},
		{"a queue and a topic", "azure-servicebus", pairs("queueName=q", "topicName=t", "subscriptionName=s"), nil, "", "leave it out"},
		{"no keys", "aws-sqs-queue", pairs("queueURL=q", "awsRegion=r"), nil, "", "awsAccessKeyID"},
		{"a path that is no queue", "aws-sqs-queue", pairs("queueURL=https://sqs.r.amazonaws.com/q", "awsRegion=r", "identityOwner=operator"), nil, "", "queueURL"},
		{"no credentials", "gcp-pubsub", pairs("subscriptionName=s"), nil, "", "no credentials"},
		{"requests in flight", TypeRequests, pairs("targetValue=10"), nil, "", ""},
		{"requests without a target", TypeRequests, pairs("metric=rate"), nil, "", `"targetValue" is missing`},
		{"requests misspelt", TypeRequests, pairs("targetValue=10", "metrik=rate"), nil, "", "unknown metadata"},
		{"a type that nobody has", "rabitmq", nil, nil, "", "misspelling"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			got := Verdict(Config{Type: c.kind, Metadata: c.metadata, Auth: c.auth, MetricType: c.how})
			if (got.Err == nil) != (c.wrong == "") || got.Err != nil && !strings.Contains(got.Err.Error(), c.wrong) {
				t.Errorf("error %v, want one with %q", got.Err, c.wrong)
			}
		})
	}
}

func TestTypesThatAreNotBuiltIn(t *testing.T) {
	good := Verdict(Config{Type: "mongodb", Metadata: pairs("collection=c", "query={}", "queryValue=1", "host=h", "port=1", "username=u", "password=p", "dbName=d"), Auth: pairs("password=p", "username=u")})
	if !errors.Is(good.Err, ErrNotBuiltIn) || !good.Accepted() || !strings.Contains(good.Err.Error(), "external scaler") {
		t.Errorf("error %v, want one that says it is not built in and what to use", good.Err)
	}
	bad := Verdict(Config{Type: "mongodb", Metadata: pairs("queryValue=many")})
	if bad.Accepted() || bad.Err == nil {
		t.Errorf("accepted with %v, want it refused for its metadata", bad.Err)
	}
	if _, err := New(Config{Type: "mongodb", Metadata: pairs("queryValue=many")}); err == nil {
		t.Error("a source was made for a type that is not built in")
	}
}

func TestEveryBuiltinIsOneOfKEDAOrOurs(t *testing.T) {
	if !slices.IsSorted(Types()[:len(Types())-1]) {
		t.Error("the list is not in order")
	}
	for _, name := range Types() {
		if _, ok := schema.Fields(name); !ok && name != TypeRequests {
			t.Errorf("type %q is none of KEDA's", name)
		}
	}
}

func TestUnreadMetadataIsNamed(t *testing.T) {
	got := Verdict(Config{Type: "redis", Metadata: pairs("address=h:1", "listName=l", "listLenght=10")})
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], `"listLenght" is not read`) {
		t.Errorf("notes %v, want the misspelt name", got.Notes)
	}
}

func TestNoSecretLeaves(t *testing.T) {
	c := Config{Type: "rabbitmq", Metadata: pairs("hostFromEnv=URL", "queueName=q"), Env: pairs("URL=amqp://user:p%40ssw0rd@127.0.0.1:1/"), Auth: pairs("ca=-----BEGIN")}
	source, err := New(c)
	must(t, err)
	defer source.Close()
	secret := c.secrets(schema.Values{})
	scrubbed := secret.scrub(errors.New(`dial "amqp://user:p%40ssw0rd@127.0.0.1:1/" as user with p@ssw0rd`))
	if strings.Contains(scrubbed.Error(), "ssw0rd") {
		t.Errorf("error %q holds the password", scrubbed)
	}
	for _, text := range []string{"Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=topsecret", "user:topsecret@tcp(h:1)/db", "host=h password='topsecret'"} {
		c := Config{Metadata: map[string]string{"connection": text}}
		if got := c.secrets(schema.Values{}).scrub(errors.New("no topsecret here")); strings.Contains(got.Error(), "topsecret") {
			t.Errorf("%q: error %q holds the password", text, got)
		}
	}
	if got := secret.scrub(context.Canceled); !errors.Is(got, context.Canceled) {
		t.Errorf("%v is no longer what it was", got)
	}
}

func TestCronWindow(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		must(t, err)
		return when
	}
	cases := []struct {
		reason, start, end, now string
		open                    bool
	}{
		{"within the day", "0 8 * * *", "0 18 * * *", "2026-03-03T10:00:00+01:00", true},
		{"before", "0 8 * * *", "0 18 * * *", "2026-03-03T07:59:59+01:00", false},
		{"at its start", "0 8 * * *", "0 18 * * *", "2026-03-03T08:00:00+01:00", true},
		{"at its end", "0 8 * * *", "0 18 * * *", "2026-03-03T18:00:00+01:00", false},
		{"over midnight", "0 22 * * *", "0 6 * * *", "2026-03-03T23:00:00+01:00", true},
		{"another zone's clock", "0 8 * * *", "0 18 * * *", "2026-03-03T07:30:00Z", true},
		{"summer time", "0 8 * * *", "0 18 * * *", "2026-07-03T06:30:00Z", true},
		{"weekdays, on a Saturday", "0 8 * * 1-5", "0 18 * * 1-5", "2026-03-07T10:00:00+01:00", false},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			source, err := New(Config{Type: "cron", Index: 1, Now: func() time.Time { return at(c.now) },
				Metadata: pairs("timezone=Europe/Paris", "start="+c.start, "end="+c.end, "desiredReplicas=4")})
			must(t, err)
			got := mustRead(t, source)
			want := 0.0
			if c.open {
				want = 4
			}
			if got.Active != c.open || got.Value != want || got.Target != 1 {
				t.Errorf("active %v, value %v of target %v, want active %v, value %v of target 1", got.Active, got.Value, got.Target, c.open, want)
			}
		})
	}
}

func TestMetricNamesAreThoseOfKEDA(t *testing.T) {
	for want, c := range map[string]Config{
		"s0-cron-UTC-08xx1-5-018xx1-5": {Type: "cron", Metadata: pairs("timezone=UTC", "start=0 8 * * 1-5", "end=0 18 * * 1-5", "desiredReplicas=1")},
		"s0-rabbitmq-a-2Fb":            {Type: "rabbitmq", Metadata: pairs("queueName=a/b", "host=amqp://h")},
		"s0-kafka-g-topics":            {Type: "kafka", Metadata: pairs("bootstrapServers=h:1", "consumerGroup=g")},
		"s0-mysql-stats_db":            {Type: "mysql", Auth: pairs("connectionString=u:p@tcp(h:1)/stats_db"), Metadata: pairs("query=q", "queryValue=1")},
		"s0-azure-servicebus-queue-regex": {Type: "azure-servicebus", Auth: pairs("connection=Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=k"),
			Metadata: pairs("queueName=a.*", "useRegex=true")},
	} {
		source, err := New(c)
		must(t, err)
		if got := source.Metrics()[0].Name; got != want {
			t.Errorf("metric %q, want %q", got, want)
		}
		must(t, source.Close())
	}
}

var (
	workload = signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}
	service  = types.NamespacedName{Namespace: "shop", Name: "web"}
)

type plane []signal.Traffic

func (p plane) Traffic() []signal.Traffic { return p }

type usage map[signal.Workload]signal.Usage

func (u usage) Usage(context.Context) map[signal.Workload]signal.Usage { return u }

func liveFacts(t *testing.T, now time.Time) *signal.Store {
	t.Helper()
	store := signal.New(signal.Config{
		Topology: signal.FixedTopology{
			Services:  map[types.NamespacedName][]signal.Backend{service: {{Workload: workload, Share: 1}}},
			Workloads: map[signal.Workload]signal.Replicas{workload: {Pods: 2, Ready: 2, CPUReserved: 1, MemoryReserved: 4 << 20}},
		},
		Usage: usage{workload: {At: now, CPU: .5, Memory: 3 << 20}},
	})
	store.AddTraffic(plane{{Service: service, Port: 80, InFlight: 12, Held: 2}})
	store.Tick(t.Context(), now)
	return store
}

func TestLiveFacts(t *testing.T) {
	now := time.Now()
	store := liveFacts(t, now)
	cases := []struct {
		reason, kind string
		metadata     map[string]string
		how          autoscalingv2.MetricTargetType
		value        float64
	}{
		{"cpu in percent of what is reserved", "cpu", pairs("value=60"), "Utilization", 50},
		{"cpu in cores", "cpu", pairs("value=200m"), "AverageValue", .5},
		{"memory in percent", "memory", pairs("value=60"), "Utilization", 75},
		{"requests in flight", TypeRequests, pairs("targetValue=10"), "", 12},
		{"requests per second", TypeRequests, pairs("targetValue=10", "metric=rate"), "", 0},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			source, err := New(Config{Type: c.kind, Metadata: c.metadata, MetricType: c.how, Workload: workload, Signals: store})
			must(t, err)
			got := mustRead(t, source)
			if got.Value != c.value || !got.Active {
				t.Errorf("value %v, active %v, want %v and active", got.Value, got.Active, c.value)
			}
		})
	}
	t.Run("a workload nobody knows", func(t *testing.T) {
		source, err := New(Config{Type: "cpu", Metadata: pairs("value=60"), MetricType: "Utilization", Signals: store})
		must(t, err)
		_, err = source.Read(t.Context())
		contains(t, err, "not known")
	})
}

func TestAHeldRequestIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := signal.New(signal.Config{Topology: signal.FixedTopology{Services: map[types.NamespacedName][]signal.Backend{service: {{Workload: workload, Share: 1}}}}})
		source, err := New(Config{Type: TypeRequests, Metadata: pairs("targetValue=10"), Workload: workload, Signals: store})
		must(t, err)
		defer source.Close()
		if _, err := source.Read(t.Context()); err == nil {
			t.Error("demand was read though no gateway leads here")
		}
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		go func() { _ = source.(Pusher).Watch(ctx, func() { told++ }) }()
		synctest.Wait()
		store.Held(types.NamespacedName{Namespace: "shop", Name: "other"})
		synctest.Wait()
		before := told
		store.Held(service)
		synctest.Wait()
		if got := mustRead(t, source); told != before+1 || !got.Active || got.Value != 1 {
			t.Errorf("told %d times, read %+v, want the held request told once, as demand", told-before, got)
		}
		cancel()
		synctest.Wait()
	})
}

func TestTheDocumentNamesEveryType(t *testing.T) {
	page, err := os.ReadFile("../../../docs/triggers.md")
	must(t, err)
	for _, name := range append(schema.Types(), TypeRequests) {
		_, ok := find(name)
		answer := map[bool]string{true: "yes", false: "no"}[ok]
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` | %s |", name, answer)) {
			t.Errorf("docs/triggers.md does not say of %q that it is built in: %s", name, answer)
		}
	}
}

func TestKafkaLag(t *testing.T) {
	at := func(id int32, start, end, committed int64) position {
		return position{partition{"t", id}, start, end, committed}
	}
	cases := []struct {
		reason    string
		rules     lagRules
		positions []position
		lag, all  int64
	}{
		{"a sum", lagRules{threshold: 10, idle: true}, []position{at(0, 0, 9, 4), at(1, 0, 8, 8)}, 5, 5},
		{"nothing committed, latest", lagRules{threshold: 10}, []position{at(0, 0, 9, -1)}, 1, 1},
		{"nothing committed, earliest", lagRules{threshold: 10, earliest: true}, []position{at(0, 4, 9, -1)}, 5, 5},
		{"nothing committed, to zero", lagRules{threshold: 10, earliest: true, zeroOnInvalid: true}, []position{at(0, 4, 9, -1)}, 0, 0},
		{"no more consumers than partitions", lagRules{threshold: 10}, []position{at(0, 0, 900, 0), at(1, 0, 900, 0)}, 20, 1800},
		{"more consumers than partitions", lagRules{threshold: 10, idle: true}, []position{at(0, 0, 900, 0), at(1, 0, 900, 0)}, 1800, 1800},
		{"no more consumers than partitions behind", lagRules{threshold: 10, limitToLag: true}, []position{at(0, 0, 900, 0), at(1, 0, 9, 9)}, 10, 900},
		{"even shares", lagRules{threshold: 10, spreading: true}, []position{at(0, 0, 25, 0), at(1, 0, 0, 0), at(2, 0, 0, 0), at(3, 0, 0, 0)}, 40, 25},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			if lag, all := c.rules.lag(c.positions, map[partition]int64{}); lag != c.lag || all != c.all {
				t.Errorf("lag %d and %d, want %d and %d", lag, all, c.lag, c.all)
			}
		})
	}
	t.Run("a partition that does not move", func(t *testing.T) {
		rules, previous := lagRules{threshold: 10, excludePersistent: true, idle: true}, map[partition]int64{}
		for i, want := range []int64{5, 0} {
			if lag, all := rules.lag([]position{at(0, 0, 9, 4)}, previous); lag != want || all != 5 {
				t.Errorf("read %d: lag %d and %d, want %d and 5", i, lag, all, want)
			}
		}
	})
}

func TestRabbitModes(t *testing.T) {
	queue := rabbitQueue{messages: 100, published: 30, delivered: 20}
	stuck := rabbitQueue{messages: 100, published: 30}
	for mode, want := range map[string]float64{rabbitLength: 100, rabbitRate: 30, rabbitDeliver: 20, rabbitRatio: 1.5, rabbitTime: 5.5} {
		if got := (rabbitSettings{mode: mode}).sample(queue); got.value != want || !got.active {
			t.Errorf("%s: %+v, want %v and active", mode, got, want)
		}
	}
	for _, mode := range []string{rabbitRatio, rabbitTime} {
		if got := (rabbitSettings{mode: mode, activation: 3}).sample(stuck); got.value != 3 || !got.active {
			t.Errorf("%s with no delivery: %+v, want the activation value and active", mode, got)
		}
	}
}

func TestLocate(t *testing.T) {
	for name, c := range map[string]struct {
		format, body, location string
		want                   float64
	}{
		"JSON":       {"json", `{"a":{"b":[1,2.5]}}`, "a.b.1", 2.5},
		"a quantity": {"json", `{"a":"5k"}`, "a", 5000},
		"YAML":       {"yaml", "a:\n  b: 3\n", "a.b", 3},
		"XML":        {"xml", "<?xml version=\"1.0\"?><queue><length>7</length></queue>", "queue.length", 7},
		"Prometheus": {"prometheus", "# TYPE jobs gauge\njobs{queue=\"a\"} 1\njobs{queue=\"b\"} 4\r\n", `jobs{queue="b"}`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := locate([]byte(c.body), c.format, c.location)
			if err != nil || got != c.want {
				t.Errorf("%v %v, want %v", got, err, c.want)
			}
		})
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("json", []byte(`{"a":1}`), "a")
	f.Add("xml", []byte(`<a><b>1</b></a>`), "a.b")
	f.Add("yaml", []byte("a: 1"), "a")
	f.Add("prometheus", []byte("a 1\n"), `a{b="c"}`)
	f.Fuzz(func(_ *testing.T, format string, body []byte, location string) {
		_, _ = locate(body, format, location)
		_, _, _ = parsePrometheus(body)
	})
}
