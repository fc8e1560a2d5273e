package scale

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/trigger"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// compileSettings makes settings of an object, without its metrics, which the sources know.
func compileSettings(o *kedav1alpha1.ScaledObject) (*decision.Settings, error) {
	spec := &o.Spec
	set := &decision.Settings{
		Min: orDefault(spec.MinReplicaCount, 0), Max: orDefault(spec.MaxReplicaCount, decision.DefaultMax),
		Idle:            spec.IdleReplicaCount,
		Cooldown:        seconds(spec.CooldownPeriod, decision.DefaultCooldown),
		InitialCooldown: seconds(spec.InitialCooldownPeriod, 0),
		Created:         o.CreationTimestamp.Time,
		Up:              rules(nil, 0), Down: rules(nil, decision.DefaultStabilization),
		FailurePeriod: min(decision.DefaultFailurePeriod, polling(spec.PollingInterval)),
		MaxHold:       decision.DefaultMaxHold,
		ForceActive:   annotated(o.Annotations, kedav1alpha1.AnnotationForceActivation),
	}
	if hpa := horizontal(spec); hpa != nil && hpa.Behavior != nil {
		set.Up = rules(hpa.Behavior.ScaleUp, 0)
		if up := hpa.Behavior.ScaleUp; up != nil && up.Policies == nil {
			set.Up.Policies = hpaScaleUp
		}
		set.Down = rules(hpa.Behavior.ScaleDown, decision.DefaultStabilization)
	}
	if fb := spec.Fallback; fb != nil {
		set.Fallback = &decision.Fallback{Threshold: fb.FailureThreshold, Replicas: fb.Replicas, Behavior: fallbackBehaviors[fb.Behavior]}
	}
	var err error
	if set.Pause, err = pause(o.Annotations); err != nil {
		return nil, err
	}
	set.Formula, err = formula(spec)
	return set, err
}

// hpaScaleUp is what the HPA follows where scaleUp is given without policies: 4 pods or twice as many in 15 s.
var hpaScaleUp = []decision.Policy{
	{Value: 4, Period: 15 * time.Second}, {Percent: true, Value: 100, Period: 15 * time.Second},
}

var fallbackBehaviors = map[string]decision.FallbackBehavior{
	kedav1alpha1.FallbackStatic: decision.Static, kedav1alpha1.FallbackCurrentReplicas: decision.Current,
	kedav1alpha1.FallbackCurrentReplicasIfHigher: decision.CurrentIfHigher,
	kedav1alpha1.FallbackCurrentReplicasIfLower:  decision.CurrentIfLower,
	kedav1alpha1.FallbackScalingModifiers:        decision.InFormula,
}

func horizontal(spec *kedav1alpha1.ScaledObjectSpec) *kedav1alpha1.HorizontalPodAutoscalerConfig {
	if spec.Advanced == nil {
		return nil
	}
	return spec.Advanced.HorizontalPodAutoscalerConfig
}

// rules are those of a direction of an HPA's behavior.
func rules(r *autoscalingv2.HPAScalingRules, stabilization time.Duration) decision.Rules {
	out := decision.Rules{Stabilization: stabilization, Tolerance: decision.DefaultTolerance}
	if r == nil {
		return out
	}
	out.Stabilization = seconds(r.StabilizationWindowSeconds, stabilization)
	if r.Tolerance != nil {
		out.Tolerance = r.Tolerance.AsApproximateFloat64()
	}
	if r.SelectPolicy != nil {
		out.Select = map[autoscalingv2.ScalingPolicySelect]decision.Select{
			autoscalingv2.MinChangePolicySelect: decision.SelectMin, autoscalingv2.DisabledPolicySelect: decision.SelectDisabled,
		}[*r.SelectPolicy]
	}
	for _, p := range r.Policies {
		out.Policies = append(out.Policies, decision.Policy{
			Percent: p.Type == autoscalingv2.PercentScalingPolicy, Value: p.Value, Period: time.Duration(p.PeriodSeconds) * time.Second,
		})
	}
	return out
}

func pause(annotations map[string]string) (decision.Pause, error) {
	p := decision.Pause{
		All: annotated(annotations, kedav1alpha1.AnnotationPaused),
		In:  annotated(annotations, kedav1alpha1.AnnotationPausedScaleIn),
		Out: annotated(annotations, kedav1alpha1.AnnotationPausedScaleOut),
	}
	text, ok := annotations[kedav1alpha1.AnnotationPausedReplicas]
	if !ok {
		return p, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return p, fmt.Errorf("annotation %q is %q; want a number of pods", kedav1alpha1.AnnotationPausedReplicas, text)
	}
	p.Replicas = new(int32(n))
	return p, nil
}

// annotated says whether an annotation is there and not false. What is no boolean counts as true, as in KEDA.
func annotated(annotations map[string]string, name string) bool {
	text, ok := annotations[name]
	if !ok {
		return false
	}
	v, err := strconv.ParseBool(text)
	return v || err != nil
}

// formula is that of the object's scaling modifiers; nil where there is none.
func formula(spec *kedav1alpha1.ScaledObjectSpec) (*decision.Formula, error) {
	if !usesFormula(spec) {
		return nil, nil
	}
	m := spec.Advanced.ScalingModifiers
	if m.Formula == "" {
		return nil, fmt.Errorf("advanced.scalingModifiers has no formula; write one over the names of the triggers")
	}
	target, err := strconv.ParseFloat(m.Target, 64)
	if err != nil || !(target > 0) {
		return nil, fmt.Errorf("advanced.scalingModifiers.target is %q; want a number above 0", m.Target)
	}
	activation := 0.0
	if m.ActivationTarget != "" {
		if activation, err = strconv.ParseFloat(m.ActivationTarget, 64); err != nil {
			return nil, fmt.Errorf("advanced.scalingModifiers.activationTarget is %q; want a number", m.ActivationTarget)
		}
	}
	var names []string
	for _, t := range spec.Triggers {
		if t.Name != "" && !resource(t.Type) {
			names = append(names, t.Name)
		}
	}
	return decision.CompileFormula(m.Formula, names, kindOf(m.MetricType), target, activation)
}

func usesFormula(spec *kedav1alpha1.ScaledObjectSpec) bool {
	return spec.Advanced != nil && spec.Advanced.ScalingModifiers != (kedav1alpha1.ScalingModifiers{})
}

// resource says that a type of trigger reads what pods use.
func resource(kind string) bool { return kind == "cpu" || kind == "memory" }

func kindOf(t autoscalingv2.MetricTargetType) decision.Kind {
	switch t {
	case autoscalingv2.ValueMetricType:
		return decision.Whole
	case autoscalingv2.UtilizationMetricType:
		return decision.Utilization
	}
	return decision.PerPod
}

// metricsOf are the metrics of a source for the decision. A source that has not said yet what it reads has one without
// a target, which is not known.
func metricsOf(c trigger.Config, metrics []trigger.Metric) []decision.Metric {
	if len(metrics) == 0 {
		return []decision.Metric{{Name: fmt.Sprintf("s%d-%s", c.Index, c.Type), Trigger: c.Name, Type: c.Type}}
	}
	out := make([]decision.Metric, len(metrics))
	for i, m := range metrics {
		out[i] = decision.Metric{
			Name: m.Name, Trigger: c.Name, Type: c.Type, Unit: unit(c), Kind: kindOf(m.Type), Target: m.Target, Resource: resource(c.Type),
		}
		out[i].Short, out[i].Long = windows(c.Type)
	}
	return out
}

// windows are those of package decision. Requests and CPU are uneven from second to second; what waits in a queue is not,
// and KEDA's other types have smoothed what they ask for already.
func windows(kind string) (short, long time.Duration) {
	switch kind {
	case trigger.TypeRequests:
		return 2 * time.Second, time.Minute
	case "cpu":
		return 5 * time.Second, 30 * time.Second
	}
	return 0, 0
}

// unit says in words what a value of a trigger counts.
func unit(c trigger.Config) string {
	switch {
	case c.Type == trigger.TypeRequests && c.Metadata["metric"] == "rate":
		return "requests per second"
	case c.Type == trigger.TypeRequests:
		return "requests in flight"
	case c.MetricType == autoscalingv2.UtilizationMetricType:
		return "of the " + c.Type + " that is reserved"
	case c.Type == "cpu":
		return "cores"
	case c.Type == "memory":
		return "bytes"
	}
	return ""
}

func polling(interval *int32) time.Duration { return seconds(interval, defaultPolling) }

func seconds(v *int32, absent time.Duration) time.Duration {
	if v == nil {
		return absent
	}
	return time.Duration(*v) * time.Second
}

func orDefault(v *int32, absent int32) int32 {
	if v == nil {
		return absent
	}
	return *v
}

// targetOf fills in the defaults of a reference to a workload.
func targetOf(ref *kedav1alpha1.ScaleTarget) (apiVersion, kind, name string) {
	return cmp.Or(ref.APIVersion, "apps/v1"), cmp.Or(ref.Kind, "Deployment"), ref.Name
}
