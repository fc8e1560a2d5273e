package trigger

import (
	"context"
	"errors"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/escale-dev/escale/internal/signal"
)

// Config is one trigger of a ScaledObject or ScaledJob with all its references resolved.
type Config struct {
	// Type is the trigger's type as KEDA names it, such as "rabbitmq".
	Type string
	// Name is the trigger's name in the spec; empty if it has none.
	Name string
	// Index is the trigger's place in the spec, from 0. It is part of the names of the metrics.
	Index int
	// Metadata is the trigger's metadata as written.
	Metadata map[string]string
	// Auth holds the parameters of the TriggerAuthentication, resolved. All of them count as secret.
	Auth map[string]string
	// Env is the environment of the target's container, resolved; "...FromEnv" metadata names its variables.
	Env map[string]string
	// Identity is the pod identity of the TriggerAuthentication.
	Identity Identity
	// MetricType is the trigger's metricType; empty means AverageValue, save for cpu and memory, which must have one.
	MetricType autoscalingv2.MetricTargetType
	// InFormula says that a formula of the ScaledObject uses this trigger, so that it needs no target of its own.
	InFormula bool
	// Object is the ScaledObject or ScaledJob. External scalers are told its name.
	Object types.NamespacedName
	// Workload is what is scaled.
	Workload signal.Workload
	// Signals are the live facts that cpu, memory and gateway triggers read.
	Signals *signal.Store
	// Dialer connects to servers inside the cluster or out of it; nil knows the machine's names only. The clouds' own
	// services are reached by their libraries' ways.
	Dialer *Dialer
	// Now is the clock of cron triggers; nil for the wall clock.
	Now func() time.Time
}

// Identity is how a source proves who it is without a secret of its own.
type Identity struct {
	// Provider is "", "none", "azure-workload", "gcp", "aws" or "aws-eks".
	Provider string
	// ID and TenantID are the Azure client and tenant, AuthorityHost the Azure login address.
	ID, TenantID, AuthorityHost string
	// RoleARN is the AWS role to assume.
	RoleARN string
}

// Metric is one number a source reads, and what it is held against.
type Metric struct {
	// Name is the metric's name as KEDA gives it to an HPA, such as "s0-rabbitmq-orders".
	Name string
	// Type says how Target is meant:
	//   - AverageValue: one replica for each Target of the value (ceil(value/Target) replicas),
	//   - Value: the value itself should be Target (replicas × value/Target),
	//   - Utilization: the value is the percentage used of what pods reserve, and should be Target.
	Type autoscalingv2.MetricTargetType
	// Target is above zero, in the metric's own unit; percent for Utilization. It is zero only for a trigger that a
	// formula uses and that has none.
	Target float64
}

// Reading is a metric's value at one moment.
type Reading struct {
	Metric
	// Value is not negative and not NaN, in the metric's own unit: messages, requests, cores, bytes, percent.
	Value float64
	// Active says that the workload must not be at zero: the value is above the trigger's activation threshold.
	Active bool
	// At is when the value was true at its source, as far as that is known, otherwise when it was asked for.
	At time.Time
}

// Source reads the metrics of one trigger. Its methods may be called at the same time from anywhere.
type Source interface {
	// Metrics lists what Read returns, in the same order. Nothing is asked of the server; a source whose server
	// names the metrics lists none before its first Read.
	Metrics() []Metric
	// Read asks the source once. It returns by itself within some seconds, and at once when ctx ends. An error means
	// that nothing is known now; the next Read tries again, with a new connection if need be.
	Read(ctx context.Context) ([]Reading, error)
	// Close gives back all that the source holds. Calls of Read that are under way end; later ones fail.
	Close() error
}

// Pusher is a Source whose server can say that something changed.
type Pusher interface {
	Source
	// Watch calls changed each time a Read may give something new, and at least once when it begins to watch. It
	// returns nil when ctx ends or the source is closed, ErrNoPush when this server cannot push, and any other error when the
	// connection broke; then it may be called again. changed is called from one goroutine and must not block.
	Watch(ctx context.Context, changed func()) error
}

var (
	// ErrNoPush says that a Pusher's server does not push: it must be polled.
	ErrNoPush = errors.New("the server does not push changes")
	// ErrNotBuiltIn says that a trigger's type and metadata are right, but that no source is built in for it.
	ErrNotBuiltIn = errors.New("not built in")
	// ErrClosed says that the source was closed.
	ErrClosed = errors.New("the trigger's source is closed")
)
