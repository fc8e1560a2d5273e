package trigger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/escale-dev/escale/internal/scale/trigger/externalscaler"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// specAge is how long the metrics that an external scaler named are believed.
const specAge = 30 * time.Second

// external reads a scaler that is a program of its own, by KEDA's protocol.
type external struct {
	*probe
	config Config
	client pb.ExternalScalerClient
	object *pb.ScaledObjectRef

	mu      sync.Mutex
	metrics []externalMetric
	asked   time.Time
}

// externalMetric is a metric under the scaler's own name.
type externalMetric struct {
	name string
	Metric
}

// externalPush is an external scaler that also tells of changes.
type externalPush struct{ *external }

func newExternal(c Config) (Source, error) { return c.external() }

func newExternalPush(c Config) (Source, error) {
	e, err := c.external()
	if err != nil {
		return nil, err
	}
	return &externalPush{e}, nil
}

func (c Config) external() (*external, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	metric, err := c.metric("external", "targetSize", 1)
	if err != nil {
		return nil, err
	}
	conn, err := c.dialExternal(v)
	if err != nil {
		return nil, err
	}
	e := &external{probe: c.probe(metric, v), config: c, client: pb.NewExternalScalerClient(conn)}
	e.free = conn.Close
	e.object = &pb.ScaledObjectRef{Name: c.Object.Name, Namespace: c.Object.Namespace, ScalerMetadata: c.told()}
	return e, nil
}

// dialExternal makes a connection that opens with the first call.
func (c Config) dialExternal(v schema.Values) (*grpc.ClientConn, error) {
	trust := certificates{cert: v.Text("tlsClientCert"), key: v.Text("tlsClientKey"), ca: v.Text("caCert"), unsafe: v.Bool("unsafeSsl")}
	config, err := trust.config()
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if v.Bool("enableTLS") || len(config.Certificates) > 0 || trust.ca != "" {
		transport = credentials.NewTLS(config)
	}
	address := v.Text("scalerAddress")
	if !strings.Contains(address, "://") {
		address = "passthrough:///" + address // the dialer resolves it
	}
	conn, err := grpc.NewClient(address,
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return c.Dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin":{}}]}`),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: externalBackoff, MinConnectTimeout: readLimit}))
	if err != nil {
		return nil, errors.New(`"scalerAddress" is no address; write it as host:port`)
	}
	return conn, nil
}

// told is the metadata as an external scaler gets it: names that end in FromEnv hold the variable's value.
func (c Config) told() map[string]string {
	told := make(map[string]string, len(c.Metadata))
	for name, value := range c.Metadata {
		if strings.HasSuffix(name, "FromEnv") {
			if value = c.Env[value]; value == "" {
				continue
			}
		}
		told[name] = value
	}
	return told
}

func (e *external) Metrics() []Metric {
	e.mu.Lock()
	defer e.mu.Unlock()
	metrics := make([]Metric, len(e.metrics))
	for i, m := range e.metrics {
		metrics[i] = m.Metric
	}
	return metrics
}

func (e *external) Read(ctx context.Context) ([]Reading, error) {
	if e.closed.Err() != nil {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	defer context.AfterFunc(e.closed, cancel)()
	readings, err := e.read(ctx)
	if err != nil {
		e.forget()
		return nil, e.explain(err)
	}
	return readings, nil
}

func (e *external) read(ctx context.Context) ([]Reading, error) {
	metrics, err := e.spec(ctx)
	if err != nil {
		return nil, err
	}
	active, err := e.client.IsActive(ctx, e.object)
	if err != nil {
		return nil, err
	}
	var readings []Reading
	for _, m := range metrics {
		got, err := e.client.GetMetrics(ctx, &pb.GetMetricsRequest{ScaledObjectRef: e.object, MetricName: m.name})
		if err != nil {
			return nil, err
		}
		sum := 0.0
		for _, value := range got.GetMetricValues() {
			sum += either(value.GetMetricValueFloat(), value.GetMetricValue())
		}
		readings = append(readings, Reading{Metric: m.Metric, Value: sane(sum), Active: active.GetResult(), At: e.now()})
	}
	return readings, nil
}

// either takes the newer form of a number where it is set.
func either(newer float64, older int64) float64 {
	if newer > 0 {
		return newer
	}
	return float64(older)
}

// spec asks the scaler which metrics it has, now and then.
func (e *external) spec(ctx context.Context) ([]externalMetric, error) {
	e.mu.Lock()
	metrics, age := e.metrics, e.now().Sub(e.asked)
	e.mu.Unlock()
	if metrics != nil && age < specAge {
		return metrics, nil
	}
	got, err := e.client.GetMetricSpec(ctx, e.object)
	if err != nil {
		return nil, err
	}
	return e.learn(got)
}

func (e *external) learn(got *pb.GetMetricSpecResponse) ([]externalMetric, error) {
	if len(got.GetMetricSpecs()) == 0 {
		return nil, errors.New("the scaler names no metric; it must answer GetMetricSpec with one or more")
	}
	metrics := make([]externalMetric, 0, len(got.GetMetricSpecs()))
	for _, spec := range got.GetMetricSpecs() {
		target := either(spec.GetTargetSizeFloat(), spec.GetTargetSize())
		if target <= 0 && !e.config.InFormula {
			return nil, fmt.Errorf("the scaler's metric %q has the target %v; it must be above 0", spec.GetMetricName(), target)
		}
		metric := e.metric
		metric.Name, metric.Target = fmt.Sprintf("s%d-%s", e.config.Index, spec.GetMetricName()), max(target, 0)
		metrics = append(metrics, externalMetric{spec.GetMetricName(), metric})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.metrics, e.asked = metrics, e.now()
	return metrics, nil
}

// forget makes the next read ask for the metrics again.
func (e *external) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = time.Time{}
}
