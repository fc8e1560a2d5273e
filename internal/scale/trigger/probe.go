package trigger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// readLimit bounds one Read of a source that sets no bound of its own; it is KEDA's default for HTTP requests.
const readLimit = 3 * time.Second

// sample is what a source's server says at one moment.
type sample struct {
	value  float64
	active bool
	// at is when it was true at the source; zero if the server does not say.
	at time.Time
}

// probe is a source with one metric. It adds to the function that asks the server what every source owes its callers: a
// bound on time, an end on Close, values that make sense, and errors without secrets.
type probe struct {
	metric  Metric
	limit   time.Duration
	ask     func(context.Context) (sample, error)
	free    func() error
	secrets secrets
	now     func() time.Time

	closed context.Context
	end    context.CancelFunc
	once   sync.Once
}

// probe begins a source; the caller sets ask and, where something must be given back, free.
func (c Config) probe(metric Metric, v schema.Values) *probe {
	closed, end := context.WithCancel(context.Background())
	p := &probe{metric: metric, limit: readLimit, secrets: c.secrets(v), now: c.clock(), closed: closed, end: end}
	if given := v.Duration("timeout"); given > 0 {
		p.limit = given
	}
	return p
}

func (c Config) clock() func() time.Time {
	if c.Now != nil {
		return c.Now
	}
	return time.Now
}

func (p *probe) Metrics() []Metric { return []Metric{p.metric} }

func (p *probe) Read(ctx context.Context) ([]Reading, error) {
	if p.closed.Err() != nil {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	defer context.AfterFunc(p.closed, cancel)()
	asked := p.now()
	got, err := p.ask(ctx)
	if err != nil {
		return nil, p.explain(err)
	}
	if got.at.IsZero() {
		got.at = asked
	}
	return []Reading{{Metric: p.metric, Value: sane(got.value), Active: got.active, At: got.at}}, nil
}

// explain makes an error fit for people.
func (p *probe) explain(err error) error {
	if p.closed.Err() != nil {
		return ErrClosed
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: %w", p.limit, context.DeadlineExceeded)
	}
	return p.secrets.scrub(err)
}

func (p *probe) Close() error {
	var err error
	p.once.Do(func() {
		p.end()
		if p.free != nil {
			err = p.free()
		}
	})
	return p.secrets.scrub(err)
}

// sane turns what no demand can be into none, as KEDA does.
func sane(value float64) float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) || value < 0 {
		return 0
	}
	return value
}

// values resolves the metadata of a type that KEDA has.
func (c Config) values() (schema.Values, error) {
	return schema.Resolve(c.Type, schema.Input{Metadata: c.Metadata, Env: c.Env, Auth: c.Auth})
}

// metric names a metric as KEDA does and checks its target, which metadata holds under the field's name.
func (c Config) metric(name, field string, target float64) (Metric, error) {
	kind := cmp.Or(c.MetricType, autoscalingv2.AverageValueMetricType)
	if kind != autoscalingv2.AverageValueMetricType && kind != autoscalingv2.ValueMetricType {
		return Metric{}, fmt.Errorf("metricType is %q; use AverageValue or Value with this type", kind)
	}
	if target <= 0 && !c.InFormula {
		return Metric{}, fmt.Errorf("%q is %v; it must be above 0", field, target)
	}
	return Metric{Name: c.metricName(name), Type: kind, Target: max(target, 0)}, nil
}

var unfit = strings.NewReplacer("/", "-", ".", "-", ":", "-", "%", "-", "(", "-", ")", "-")

// metricName adds the trigger's index and replaces what a metric's name must not hold.
func (c Config) metricName(name string) string {
	return fmt.Sprintf("s%d-%s", c.Index, unfit.Replace(name))
}
