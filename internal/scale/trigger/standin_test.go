package trigger

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/api/option"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

func TestKafka(t *testing.T) {
	for _, login := range []string{"", "plaintext", "scram_sha256", "scram_sha512"} {
		t.Run("login "+login, func(t *testing.T) {
			f := fixture{metric: "s2-kafka-orders", target: 10}
			f.config = Config{Type: "kafka", Metadata: map[string]string{"consumerGroup": "workers", "topic": "orders"}}
			options := []kfake.Opt{kfake.NumBrokers(2), kfake.SeedTopics(4, "orders")}
			dial := []kgo.Opt{}
			if login != "" {
				mechanism := map[string]string{"plaintext": "PLAIN", "scram_sha256": "SCRAM-SHA-256", "scram_sha512": "SCRAM-SHA-512"}[login]
				options = append(options, kfake.EnableSASL(), kfake.Superuser(mechanism, "scaler", "secret"))
				f.config.Metadata["sasl"] = login
				f.config.Auth = map[string]string{"username": "scaler", "password": "secret"}
				auth, err := f.config.kafkaOptions(mustValues(t, f.config, "bootstrapServers", "x:1"))
				must(t, err)
				dial = auth[len(auth)-1:]
			}
			cluster, err := kfake.NewCluster(options...)
			must(t, err)
			ports := cluster.ListenAddrs()
			f.config.Metadata["bootstrapServers"] = strings.Join(ports, ",")
			t.Cleanup(func() { cluster.Close() })
			f.stop = func(*testing.T) { cluster.Close() }
			f.start = func(t *testing.T) {
				var numbers []int
				for _, p := range ports {
					_, port := splitPort(t, p)
					var n int
					_, err := fmt.Sscan(port, &n)
					must(t, err)
					numbers = append(numbers, n)
				}
				cluster, err = kfake.NewCluster(append(options, kfake.Ports(numbers...))...)
				must(t, err)
			}
			f.set = func(t *testing.T, n int) { fillKafka(t, ports, dial, n) }
			f.set(t, 0)
			conform(t, f)
		})
	}
}

// fillKafka makes the group behind by so many records of the topic.
func fillKafka(t *testing.T, brokers []string, options []kgo.Opt, n int) {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("orders"))...)
	must(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context(), "orders")
	must(t, err)
	must(t, admin.CommitAllOffsets(t.Context(), "workers", ends.Offsets()))
	for range n {
		must(t, client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr())
	}
}

func mustValues(t *testing.T, c Config, name, value string) (v schema.Values) {
	t.Helper()
	c.Metadata[name] = value
	v, err := c.values()
	must(t, err)
	return v
}

func TestJetStream(t *testing.T) {
	f := fixture{metric: "s2-nats-jetstream-ORDERS", target: 10}
	options := &natsserver.Options{Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	var server *natsserver.Server
	f.start = func(t *testing.T) {
		var err error
		server, err = natsserver.NewServer(options.Clone())
		must(t, err)
		server.Start()
		if !server.ReadyForConnections(patience) {
			t.Fatal("NATS does not start")
		}
	}
	f.stop = func(*testing.T) { server.Shutdown(); server.WaitForShutdown() }
	f.start(t)
	t.Cleanup(func() { f.stop(t) })
	options.Port, options.HTTPPort = server.Addr().(*net.TCPAddr).Port, server.MonitorAddr().Port
	f.set = func(t *testing.T, n int) {
		conn, err := nats.Connect(server.ClientURL())
		must(t, err)
		defer conn.Close()
		js, err := jetstream.New(conn)
		must(t, err)
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
		must(t, err)
		must(t, stream.Purge(t.Context()))
		_, err = stream.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
		must(t, err)
		for range n {
			_, err := js.Publish(t.Context(), "orders.new", []byte("x"))
			must(t, err)
		}
	}
	f.set(t, 0)
	f.config = Config{Type: "nats-jetstream", Metadata: map[string]string{
		"natsServerMonitoringEndpoint": fmt.Sprintf("127.0.0.1:%d", options.HTTPPort), "account": "$G", "stream": "ORDERS", "consumer": "workers"}}
	conform(t, f)
}

func TestSQS(t *testing.T) {
	var waiting atomic.Int64
	f := fixture{metric: "s2-aws-sqs-orders", target: 5, set: func(_ *testing.T, n int) { waiting.Store(int64(n)) }}
	address := standIn(t, &f, overHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			QueueURL       string `json:"QueueUrl"`
			AttributeNames []string
		}
		body, _ := io.ReadAll(r.Body)
		signed := strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDEXAMPLE/")
		if json.Unmarshal(body, &asked) != nil || r.Header.Get("X-Amz-Target") != "AmazonSQS.GetQueueAttributes" || !signed || !strings.HasSuffix(asked.QueueURL, "/orders") {
			http.Error(w, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}`, http.StatusBadRequest)
			return
		}
		attributes := map[string]string{}
		for _, name := range asked.AttributeNames {
			attributes[name] = "0"
		}
		attributes["ApproximateNumberOfMessages"] = fmt.Sprint(waiting.Load())
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_ = json.NewEncoder(w).Encode(map[string]any{"Attributes": attributes})
	})))
	f.config = Config{Type: "aws-sqs-queue", Auth: map[string]string{"awsAccessKeyID": "AKIDEXAMPLE", "awsSecretAccessKey": "secret-of-aws"}, Metadata: map[string]string{
		"queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "awsRegion": "eu-west-1", "awsEndpoint": "http://" + address}}
	conform(t, f)
}

func TestPubSub(t *testing.T) {
	var waiting atomic.Int64
	f := fixture{metric: "s2-gcp-ps-projects-shop-subscriptions-orders", target: 10, set: func(_ *testing.T, n int) { waiting.Store(int64(n)) }}
	address := standIn(t, &f, overHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct{ Query string }
		wanted := "fetch pubsub_subscription | metric 'pubsub.googleapis.com/subscription/num_undelivered_messages' | filter (resource.project_id == 'shop' && resource.subscription_id == 'orders') | within 2m0s"
		if json.Unmarshal(body, &asked) != nil || asked.Query != wanted || r.URL.Path != "/v3/projects/shop/timeSeries:query" {
			http.Error(w, "bad query "+asked.Query, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"timeSeriesData":[{"pointData":[{"values":[{"int64Value":"%d"}]}]}]}`, waiting.Load())
	})))
	f.make = func(c Config) (Source, error) {
		return newPubSubAt(c, option.WithEndpoint("http://"+address), option.WithoutAuthentication())
	}
	f.config = Config{Type: "gcp-pubsub", Identity: Identity{Provider: "gcp"}, Metadata: map[string]string{"subscriptionName": "projects/shop/subscriptions/orders", "mode": "SubscriptionSize"}}
	if verdict := Verdict(f.config); len(verdict.Notes) != 0 {
		t.Errorf("notes %v", verdict.Notes)
	}
	conform(t, f)
}

// busAnswer is how Service Bus describes a queue.
const busAnswer = `<entry xmlns="http://www.w3.org/2005/Atom"><title type="text">orders</title><content type="application/xml"><QueueDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><MessageCount>%[1]d</MessageCount><CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus"><d2p1:ActiveMessageCount>%[1]d</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>3</d2p1:DeadLetterMessageCount><d2p1:ScheduledMessageCount>0</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount><d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount></CountDetails><CreatedAt>2026-01-01T00:00:00Z</CreatedAt><UpdatedAt>2026-01-01T00:00:00Z</UpdatedAt><AccessedAt>2026-01-01T00:00:00Z</AccessedAt><SizeInBytes>0</SizeInBytes></QueueDescription></content></entry>`

func TestServiceBus(t *testing.T) {
	var waiting atomic.Int64
	f := fixture{metric: "s2-azure-servicebus-orders", target: 5, set: func(_ *testing.T, n int) { waiting.Store(int64(n)) }}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedAccessSignature sr=") || r.URL.Path != "/orders" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/atom+xml")
		fmt.Fprintf(w, busAnswer, waiting.Load())
	})
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	pair := certificate.TLS.Certificates
	certificate.Close()
	address := standIn(t, &f, func(listener net.Listener) func() {
		return overHTTP(handler)(tls.NewListener(listener, &tls.Config{Certificates: pair}))
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	f.make = func(c Config) (Source, error) {
		return newServiceBusWith(c, policy.ClientOptions{Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1}})
	}
	f.config = Config{Type: "azure-servicebus", Metadata: map[string]string{"queueName": "orders"},
		Auth: map[string]string{"connection": "Endpoint=sb://" + address + "/;SharedAccessKeyName=root;SharedAccessKey=secretkey"}}
	conform(t, f)
}

func TestPrometheus(t *testing.T) {
	var waiting atomic.Int64
	f := fixture{metric: "s2-prometheus", target: 2.5, set: func(_ *testing.T, n int) { waiting.Store(int64(n)) }}
	address := standIn(t, &f, overHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.URL.Path != "/api/v1/query" || r.URL.Query().Get("query") != `sum(rate(jobs[1m]))` || r.URL.Query().Get("dedup") != "true" ||
			user != "scaler" || password != "secret" || r.Header.Get("X-Scope-OrgID") != "shop" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"%d"]}]}}`, waiting.Load())
	})))
	f.config = Config{Type: "prometheus", Auth: map[string]string{"username": "scaler", "password": "secret"}, Metadata: map[string]string{
		"serverAddress": "http://" + address, "query": "sum(rate(jobs[1m]))", "threshold": "2.5", "authModes": "basic",
		"queryParameters": "dedup=true", "customHeaders": "X-Scope-OrgID=shop"}}
	conform(t, f)
}

func TestMetricsAPI(t *testing.T) {
	var waiting atomic.Int64
	f := fixture{metric: "s2-metric-api-queue-length", target: 5, set: func(_ *testing.T, n int) { waiting.Store(int64(n)) }}
	address := standIn(t, &f, overHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != "secret" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"queue":{"length":%d}}`, waiting.Load())
	})))
	f.config = Config{Type: "metrics-api", Auth: map[string]string{"apiKey": "secret"}, Metadata: map[string]string{
		"url": "http://" + address + "/stats", "valueLocation": "queue.length", "targetValue": "5", "authMode": "apiKey", "method": "query", "keyParamName": "token"}}
	conform(t, f)
}

func TestOAuthTokensAreKept(t *testing.T) {
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}`)
	})
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"data":{"result":[{"value":[1,"3"]}]}}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	source, err := New(Config{Type: "prometheus", Metadata: map[string]string{"serverAddress": server.URL, "query": "x", "threshold": "1", "authModes": "oauth"},
		Auth: map[string]string{"oauthTokenURI": server.URL + "/token", "clientID": "id", "clientSecret": "secret"}})
	must(t, err)
	defer source.Close()
	expect(t, source, 3)
	expect(t, source, 3)
	if asked.Load() != 1 {
		t.Errorf("%d tokens were asked for, want 1", asked.Load())
	}
}

func TestSlowServerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	source, err := New(Config{Type: "metrics-api", Metadata: map[string]string{"url": server.URL, "valueLocation": "x", "targetValue": "1", "timeout": "50ms"}})
	must(t, err)
	defer source.Close()
	_, err = source.Read(t.Context())
	contains(t, err, "no answer within 50ms")
}

func TestCloseEndsARead(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-release }))
	defer server.Close()
	defer close(release)
	source, err := New(Config{Type: "metrics-api", Metadata: map[string]string{"url": server.URL, "valueLocation": "x", "targetValue": "1", "timeout": "1h"}})
	must(t, err)
	failed := make(chan error, 1)
	go func() { _, err := source.Read(t.Context()); failed <- err }()
	<-arrived
	must(t, source.Close())
	select {
	case err := <-failed:
		if err == nil || err.Error() != ErrClosed.Error() {
			t.Errorf("error %v, want ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("the read goes on after Close")
	}
}
