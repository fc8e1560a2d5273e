package trigger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/escale-dev/escale/internal/signal"
)

// staleUsage is how old the pods' use may be before it says nothing about now.
const staleUsage = 90 * time.Second

// newUsage reads how much CPU or memory the workload's pods use.
func newUsage(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	metric, err := c.usageMetric(v.Text("value"))
	if err != nil {
		return nil, err
	}
	if v.Text("containerName") != "" {
		return nil, errors.New(`"containerName" is not supported: the use of single containers is not known here; leave it out to scale on all containers of the pod`)
	}
	p := c.probe(metric, v)
	p.ask = func(ctx context.Context) (sample, error) {
		facts, ok := c.Signals.Facts(c.Workload)
		if !ok || facts.UsageAt.IsZero() || p.now().Sub(facts.UsageAt) > staleUsage {
			return sample{}, fmt.Errorf("the use of %s by %s is not known", c.Type, c.Workload)
		}
		value, err := used(c.Type, metric.Type, facts)
		return sample{value: value, active: true, at: facts.UsageAt}, errors.Join(err, ctx.Err())
	}
	return p, nil
}

// usageMetric reads the target: percent for Utilization, a quantity for AverageValue.
func (c Config) usageMetric(value string) (Metric, error) {
	metric := Metric{Name: c.metricName(c.Type), Type: c.MetricType}
	switch c.MetricType {
	case autoscalingv2.UtilizationMetricType:
		percent, err := strconv.ParseInt(value, 10, 32)
		if err != nil || percent <= 0 {
			return metric, fmt.Errorf(`"value" is %q; with metricType Utilization it must be a percentage such as "60"`, value)
		}
		metric.Target = float64(percent)
	case autoscalingv2.AverageValueMetricType:
		quantity, err := resource.ParseQuantity(value)
		if err != nil || quantity.Sign() <= 0 {
			return metric, fmt.Errorf(`"value" is %q; with metricType AverageValue it must be a quantity such as "500m" or "256Mi"`, value)
		}
		metric.Target = quantity.AsApproximateFloat64()
	default:
		return metric, fmt.Errorf("metricType is %q; use Utilization or AverageValue with this type", c.MetricType)
	}
	return metric, nil
}

// used is the percentage of what pods reserve, or the sum over the pods.
func used(kind string, how autoscalingv2.MetricTargetType, facts signal.Facts) (float64, error) {
	value, reserved := facts.CPU, facts.CPUReserved
	if kind == "memory" {
		value, reserved = facts.Memory, facts.MemoryReserved
	}
	if how == autoscalingv2.AverageValueMetricType {
		return value, nil
	}
	if reserved <= 0 {
		return 0, fmt.Errorf("the pods reserve no %s; set resources.requests.%s, or use metricType AverageValue", kind, kind)
	}
	return 100 * value / reserved, nil
}
