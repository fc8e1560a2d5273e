package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The annotations of a ScaledObject; a ScaledJob knows AnnotationPaused. Any value that is not a boolean counts as true.
const (
	// AnnotationPaused keeps the workload as it is.
	AnnotationPaused = "autoscaling.keda.sh/paused"
	// AnnotationPausedReplicas brings the workload to a number of pods and keeps it there.
	AnnotationPausedReplicas = "autoscaling.keda.sh/paused-replicas"
	// AnnotationPausedScaleIn keeps pods from being taken away.
	AnnotationPausedScaleIn = "autoscaling.keda.sh/paused-scale-in"
	// AnnotationPausedScaleOut keeps pods from being added.
	AnnotationPausedScaleOut = "autoscaling.keda.sh/paused-scale-out"
	// AnnotationForceActivation keeps the workload from zero, whatever its triggers say.
	AnnotationForceActivation = "autoscaling.keda.sh/force-activation"
	// AnnotationTransferOwnership lets a ScaledObject take over from the HPA it names.
	AnnotationTransferOwnership = "scaledobject.keda.sh/transfer-hpa-ownership"
	// AnnotationHPAOwnership, "false" on an HPA, says that it may share its workload with a ScaledObject.
	AnnotationHPAOwnership = "validations.keda.sh/hpa-ownership"
)

// What stands in for a source that is down; see Fallback.
const (
	FallbackStatic                  = "static"
	FallbackCurrentReplicas         = "currentReplicas"
	FallbackCurrentReplicasIfHigher = "currentReplicasIfHigher"
	FallbackCurrentReplicasIfLower  = "currentReplicasIfLower"
	FallbackScalingModifiers        = "scalingModifiers"
)

// The values of a trigger's health.
const (
	HealthHappy   = "Happy"
	HealthFailing = "Failing"
)

// ScaledObject says how many pods a workload has, by the work its triggers see.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=scaledobjects,scope=Namespaced,shortName=so
// +kubebuilder:printcolumn:name="ScaleTargetKind",type="string",JSONPath=".status.scaleTargetKind"
// +kubebuilder:printcolumn:name="ScaleTargetName",type="string",JSONPath=".spec.scaleTargetRef.name"
// +kubebuilder:printcolumn:name="Min",type="integer",JSONPath=".spec.minReplicaCount"
// +kubebuilder:printcolumn:name="Max",type="integer",JSONPath=".spec.maxReplicaCount"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Active",type="string",JSONPath=".status.conditions[?(@.type==\"Active\")].status"
// +kubebuilder:printcolumn:name="Fallback",type="string",JSONPath=".status.conditions[?(@.type==\"Fallback\")].status"
// +kubebuilder:printcolumn:name="Paused",type="string",JSONPath=".status.conditions[?(@.type==\"Paused\")].status"
// +kubebuilder:printcolumn:name="Triggers",type="string",JSONPath=".status.triggersTypes"
// +kubebuilder:printcolumn:name="Authentications",type="string",JSONPath=".status.authenticationsTypes"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ScaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ScaledObjectSpec `json:"spec"`
	// +optional
	Status ScaledObjectStatus `json:"status,omitempty"`
}

// ScaledObjectList is a list of ScaledObjects.
//
// +kubebuilder:object:root=true
type ScaledObjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []ScaledObject `json:"items"`
}

// ScaledObjectSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)",message="minReplicaCount is above maxReplicaCount, which is 100 if not given"
type ScaledObjectSpec struct {
	// ScaleTargetRef is the workload, of any kind with a scale subresource, in this namespace.
	ScaleTargetRef *ScaleTarget `json:"scaleTargetRef"`
	// PollingInterval is the longest time, in seconds, between two looks at a source that cannot push. Sources are looked
	// at each second while they answer; after failures less often, but at least this often. Default: 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	PollingInterval *int32 `json:"pollingInterval,omitempty"`
	// InitialCooldownPeriod is how many seconds after its creation the workload is not scaled to zero. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	InitialCooldownPeriod *int32 `json:"initialCooldownPeriod,omitempty"`
	// CooldownPeriod is how many seconds after the last work the workload goes to zero, or to the idle count. Default: 300.
	// +optional
	// +kubebuilder:validation:Minimum=0
	CooldownPeriod *int32 `json:"cooldownPeriod,omitempty"`
	// IdleReplicaCount is how many pods there are without work. It must be below MinReplicaCount. Absent: MinReplicaCount.
	// +optional
	// +kubebuilder:validation:Minimum=0
	IdleReplicaCount *int32 `json:"idleReplicaCount,omitempty"`
	// MinReplicaCount is the fewest pods; 0 lets the workload go to zero without work. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReplicaCount *int32 `json:"minReplicaCount,omitempty"`
	// MaxReplicaCount is the most pods. Default: 100.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicaCount *int32 `json:"maxReplicaCount,omitempty"`
	// +optional
	Advanced *AdvancedConfig `json:"advanced,omitempty"`
	// Triggers see the work. Each asks for a number of pods; the highest counts.
	// +kubebuilder:validation:MinItems=1
	Triggers []ScaleTriggers `json:"triggers"`
	// Fallback stands in for sources that are down. Absent: the last good value counts for as long as they are.
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`
}

// Fallback is the number of pods while a source is down.
type Fallback struct {
	// FailureThreshold is how many looks in a row may fail before the fallback counts.
	// +kubebuilder:validation:Minimum=0
	FailureThreshold int32 `json:"failureThreshold"`
	// Replicas is how many pods.
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
	// Behavior says how Replicas and the present number make the number of pods.
	// +optional
	// +kubebuilder:default=static
	// +kubebuilder:validation:Enum=static;currentReplicas;currentReplicasIfHigher;currentReplicasIfLower;scalingModifiers
	Behavior string `json:"behavior,omitempty"`
}

// AdvancedConfig is what few objects need.
type AdvancedConfig struct {
	// +optional
	HorizontalPodAutoscalerConfig *HorizontalPodAutoscalerConfig `json:"horizontalPodAutoscalerConfig,omitempty"`
	// RestoreToOriginalReplicaCount gives the workload its first number of pods back when the object is deleted.
	// +optional
	RestoreToOriginalReplicaCount bool `json:"restoreToOriginalReplicaCount,omitempty"`
	// +optional
	ScalingModifiers ScalingModifiers `json:"scalingModifiers,omitempty"`
}

// ScalingModifiers makes one metric of those of all triggers.
type ScalingModifiers struct {
	// Formula in the language of expr-lang.org over the triggers' names.
	Formula string `json:"formula,omitempty"`
	// Target is what one pod takes of the formula's result.
	Target string `json:"target,omitempty"`
	// ActivationTarget is the result above which there is work. Default: 0.
	// +optional
	ActivationTarget string `json:"activationTarget,omitempty"`
	// MetricType is AverageValue, per pod, or Value, of the whole. Default: AverageValue.
	// +optional
	// +kubebuilder:validation:Enum=AverageValue;Value
	MetricType autoscalingv2.MetricTargetType `json:"metricType,omitempty"`
}

// HorizontalPodAutoscalerConfig is what KEDA puts into the HPA it makes. Escale makes none and follows Behavior itself.
type HorizontalPodAutoscalerConfig struct {
	// Behavior bounds how fast pods are added and taken away.
	// +optional
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
	// Name of the HPA to take over, with the annotation scaledobject.keda.sh/transfer-hpa-ownership.
	// +optional
	Name string `json:"name,omitempty"`
}

// ScaleTarget names a workload.
type ScaleTarget struct {
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Default: apps/v1.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// Default: Deployment.
	// +optional
	Kind string `json:"kind,omitempty"`
	// EnvSourceContainerName is the container whose environment triggers read. Default: the first.
	// +optional
	EnvSourceContainerName string `json:"envSourceContainerName,omitempty"`
}

// ScaleTriggers is one source that sees work.
type ScaleTriggers struct {
	// Type such as "kafka" or "escale-requests".
	// +kubebuilder:validation:MinLength=1
	Type string `json:"type"`
	// Name for formulas and the status. It must be unique in the object.
	// +optional
	Name string `json:"name,omitempty"`
	// UseCachedMetrics is accepted; each look is shared by all readers anyway.
	UseCachedMetrics bool `json:"useCachedMetrics,omitempty"`
	// Metadata are the parameters of the type.
	Metadata map[string]string `json:"metadata"`
	// +optional
	AuthenticationRef *AuthenticationRef `json:"authenticationRef,omitempty"`
	// MetricType says how the value counts: AverageValue per pod, Value of the whole, Utilization of what is reserved.
	// Default: AverageValue, for cpu and memory Utilization.
	// +optional
	MetricType autoscalingv2.MetricTargetType `json:"metricType,omitempty"`
}

// AuthenticationRef names a TriggerAuthentication or ClusterTriggerAuthentication.
type AuthenticationRef struct {
	Name string `json:"name"`
	// Kind is TriggerAuthentication, the default, or ClusterTriggerAuthentication.
	// +optional
	// +kubebuilder:validation:Enum=TriggerAuthentication;ClusterTriggerAuthentication
	Kind string `json:"kind,omitempty"`
}

// GroupVersionKindResource names a kind.
type GroupVersionKindResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Kind     string `json:"kind"`
	Resource string `json:"resource"`
}

// HealthStatus is whether a metric can be read.
type HealthStatus struct {
	// NumberOfFailures in a row.
	// +optional
	NumberOfFailures *int32 `json:"numberOfFailures,omitempty"`
	// Status is Happy or Failing.
	// +optional
	Status string `json:"status,omitempty"`
}

// TriggerActivityStatus is whether a trigger sees work.
type TriggerActivityStatus struct {
	// +optional
	IsActive bool `json:"isActive"`
}

// ScaledObjectStatus is what was seen.
//
// +optional
type ScaledObjectStatus struct {
	// ScaleTargetKind such as "apps/v1.Deployment".
	// +optional
	ScaleTargetKind string `json:"scaleTargetKind,omitempty"`
	// +optional
	ScaleTargetGVKR *GroupVersionKindResource `json:"scaleTargetGVKR,omitempty"`
	// OriginalReplicaCount is how many pods the workload had before this object scaled it.
	// +optional
	OriginalReplicaCount *int32 `json:"originalReplicaCount,omitempty"`
	// LastActiveTime is when a trigger last saw work.
	// +optional
	LastActiveTime *metav1.Time `json:"lastActiveTime,omitempty"`
	// ExternalMetricNames are the names under which external.metrics.k8s.io serves the triggers' values.
	// +optional
	ExternalMetricNames []string `json:"externalMetricNames,omitempty"`
	// ResourceMetricNames are cpu and memory, where a trigger reads them.
	// +optional
	ResourceMetricNames []string `json:"resourceMetricNames,omitempty"`
	// CompositeScalerName is set where a formula makes one metric.
	// +optional
	CompositeScalerName string `json:"compositeScalerName,omitempty"`
	// +optional
	Conditions Conditions `json:"conditions,omitempty"`
	// Health by metric name.
	// +optional
	Health map[string]HealthStatus `json:"health,omitempty"`
	// TriggersActivity by metric name.
	// +optional
	TriggersActivity map[string]TriggerActivityStatus `json:"triggersActivity,omitempty"`
	// PausedReplicaCount is the number of pods an annotation asks for.
	// +optional
	PausedReplicaCount *int32 `json:"pausedReplicaCount,omitempty"`
	// HpaName is empty: Escale scales the workload itself and makes no HPA.
	// +optional
	HpaName string `json:"hpaName,omitempty"`
	// +optional
	TriggersTypes *string `json:"triggersTypes,omitempty"`
	// +optional
	AuthenticationsTypes *string `json:"authenticationsTypes,omitempty"`
}
