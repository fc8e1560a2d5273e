package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels that every object rendered from an App carries.
const (
	// LabelApp names the App an object was rendered from.
	LabelApp = "escale.dev/app"
	// LabelRevision is the revision of the App that made a pod: eight hexadecimal digits of the hash of its spec.
	LabelRevision = "escale.dev/revision"
)

// HostImage is the image of a pod that needs no files of its own: the process runtime runs a program of the machine.
const HostImage = "escale.dev/host"

// RuntimeClassProcess is the RuntimeClass of pods that run as programs of the machine.
const RuntimeClassProcess = "process"

// App is an application, or one service of it: what runs, how many, and where it answers.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.observed
// +kubebuilder:resource:categories=all
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desired`
// +kubebuilder:printcolumn:name="Observed",type=integer,JSONPath=`.status.observed`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the name becomes a Service's: use at most 63 of a-z, 0-9 and -, beginning with a letter and not ending with -"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.schedule) || self.metadata.name.size() <= 52",message="the name of a scheduled job has at most 52 characters"
type App struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AppSpec   `json:"spec"`
	Status AppStatus `json:"status,omitempty"`
}

// AppList is a list of Apps.
//
// +kubebuilder:object:root=true
type AppList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []App `json:"items"`
}

// Priority orders Apps when capacity is short.
//
// +kubebuilder:validation:Enum=high;default;low
type Priority string

// The priorities, with the value of the PriorityClass each renders to.
const (
	PriorityHigh    Priority = "high"    // 5
	PriorityDefault Priority = "default" // 0
	PriorityLow     Priority = "low"     // -5
)

// Runtime says how the pods of an App run.
//
// +kubebuilder:validation:Enum=process;container
type Runtime string

// The runtimes.
const (
	// RuntimeProcess runs programs of the machine, with the image's files at /app.
	RuntimeProcess Runtime = "process"
	// RuntimeContainer runs an ordinary OCI image in a container.
	RuntimeContainer Runtime = "container"
)

// AppSpec is what the user asks for. Exactly the fields below exist; an unknown one is refused with its line.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.image) && has(self.source))",message="image and source exclude each other: name an image that exists, or a source to build"
// +kubebuilder:validation:XValidation:rule="has(self.image) || has(self.source) || has(self.command)",message="nothing to run: set image, source or command"
// +kubebuilder:validation:XValidation:rule="!(has(self.schedule) && (has(self.port) || has(self.route)))",message="a scheduled job answers no requests: remove port and route, or schedule"
// +kubebuilder:validation:XValidation:rule="!(has(self.schedule) && has(self.replicas))",message="a scheduled job has no replicas: remove replicas or schedule"
// +kubebuilder:validation:XValidation:rule="!(has(self.scale) && has(self.replicas))",message="replicas and scale exclude each other: name a number of pods, or let it follow the work"
// +kubebuilder:validation:XValidation:rule="!(has(self.scale) && has(self.schedule))",message="a scheduled job has no number of pods to scale: remove scale or schedule"
// +kubebuilder:validation:XValidation:rule="!has(self.scale) || has(self.port) || !(has(self.scale.requestsInFlight) || has(self.scale.requestsPerSecond))",message="requests are counted on the way to the port: set port, or scale on cpu or triggers"
// +kubebuilder:validation:XValidation:rule="!(has(self.scale) && has(self.scale.min) && self.scale.min == 0) || has(self.scale.triggers) || has(self.scale.requestsInFlight) || has(self.scale.requestsPerSecond) || (has(self.port) && !has(self.scale.cpu))",message="cpu cannot wake an App that has no pod: set scale.min to 1, or scale on requests or triggers as well"
// +kubebuilder:validation:XValidation:rule="!(has(self.runtime) && self.runtime == 'container') || has(self.image) || has(self.source)",message="a container needs an image: set image or source"
// +kubebuilder:validation:XValidation:rule="!has(self.route) || has(self.port)",message="a route needs a port to send requests to: set port"
// +kubebuilder:validation:XValidation:rule="!has(self.health) || has(self.port)",message="a health path is asked on the port: set port"
type AppSpec struct {
	// Image is the OCI image to run, such as "ghcr.io/acme/shop:1.4" or, better, a digest. Runs as a container unless
	// runtime says otherwise.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Image string `json:"image,omitempty"`
	// Source is the folder `escale deploy` builds an image from, relative to the file that holds the App. The API
	// server cannot build: an App applied with a source and no image reports how to deploy it.
	// +optional
	Source *Source `json:"source,omitempty"`
	// Runtime is how the pods run. Default: process for a source or a bare command, container for an image.
	// +optional
	Runtime Runtime `json:"runtime,omitempty"`
	// Command is the program and its arguments. Default: what the image says; for a Go source, the built program.
	// +optional
	// +kubebuilder:validation:MinItems=1
	Command []string `json:"command,omitempty"`
	// Env sets environment variables. The runtime sets PORT to the port and HOST to the address to listen on.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Env []EnvVar `json:"env,omitempty"`
	// Port is the TCP port the App listens on, 1 to 65535. Absent: a worker, which gets no Service.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// Health is the HTTP path that answers 200 when the App can serve, such as "/healthz". Absent: with a port, the
	// App is ready when it accepts connections; without, when it runs.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="want a path that begins with '/'"
	Health string `json:"health,omitempty"`
	// Route makes the App reachable from outside through the gateway.
	// +optional
	Route *Route `json:"route,omitempty"`
	// Replicas is how many pods run. Default 1; 0 stops the App and keeps its objects.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`
	// Scale lets the number of pods follow the work, between two bounds. It takes the place of replicas; "scale: {}" is a
	// good beginning.
	// +optional
	Scale *Scale `json:"scale,omitempty"`
	// Resources is what one pod reserves and may use. Default: 50m CPU and 64Mi memory reserved, memory limited to
	// 256Mi, CPU not limited.
	// +optional
	Resources *Resources `json:"resources,omitempty"`
	// Priority orders Apps when capacity is short: high, default or low.
	// +optional
	Priority Priority `json:"priority,omitempty"`
	// Schedule makes the App a job that runs at these times, in cron form: "*/5 * * * *", "@hourly". A run that is not
	// over when the next is due delays it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every [^ ]+|[^ ]+( +[^ ]+){4})$')",message="want five fields in cron form, such as '*/5 * * * *', or '@hourly'"
	Schedule string `json:"schedule,omitempty"`
	// Storage keeps files across restarts of a pod on the same node, each at its path. It is scratch space of the
	// pod, not a database's only copy.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=16
	Storage []Storage `json:"storage,omitempty"`
	// StopAfterSeconds is how long a pod may take to finish its requests after SIGTERM. Default 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	StopAfterSeconds *int64 `json:"stopAfterSeconds,omitempty"`
	// Suspend stops the App's controller from changing anything, for as long as it is true.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Source is a folder to build.
type Source struct {
	// Path is the folder, relative to the file that holds the App.
	// +kubebuilder:validation:MinLength=1
	Path string `json:"path"`
	// Build is the command that builds it, run in the folder. Absent: `go build` where the folder holds a Go program,
	// else nothing. The files of the folder (for Go, the program alone) become the image's /app.
	// +optional
	Build []string `json:"build,omitempty"`
}

// EnvVar is one environment variable: a value, or a key of a Secret.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.secret))",message="value and secret exclude each other"
type EnvVar struct {
	// Name of the variable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern=`^[^=]+$`
	Name string `json:"name"`
	// Value as it is.
	// +optional
	Value string `json:"value,omitempty"`
	// Secret takes the value from a key of a Secret in the App's namespace.
	// +optional
	Secret *SecretKey `json:"secret,omitempty"`
}

// SecretKey names one key of a Secret.
type SecretKey struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Key in the Secret.
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key"`
}

// Route is where an App answers.
type Route struct {
	// Host is the host name, such as "shop.example.com"; "*.example.com" takes every name below it. Absent: every host
	// that no other route names.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="want a host name in small letters, such as 'shop.example.com' or '*.example.com'"
	Host string `json:"host,omitempty"`
	// Path is the prefix of the paths that belong to this App. Default "/".
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="want a path that begins with '/'"
	Path string `json:"path,omitempty"`
	// Gateway is "namespace/name" of the Gateway that serves the route. Default "escale-system/escale".
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="want 'namespace/name' of a Gateway"
	Gateway string `json:"gateway,omitempty"`
}

// Resources of one pod, in Kubernetes quantities.
//
// +kubebuilder:validation:XValidation:rule="!has(self.cpu) || !has(self.cpuLimit) || !isQuantity(self.cpu) || !isQuantity(self.cpuLimit) || quantity(self.cpu).compareTo(quantity(self.cpuLimit)) <= 0",message="cpu is more than cpuLimit"
// +kubebuilder:validation:XValidation:rule="!has(self.memory) || !has(self.memoryLimit) || !isQuantity(self.memory) || !isQuantity(self.memoryLimit) || quantity(self.memory).compareTo(quantity(self.memoryLimit)) <= 0",message="memory is more than memoryLimit"
type Resources struct {
	// CPU reserved: "250m" is a quarter of a core.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",message="want a quantity such as '250m' or '2'"
	CPU string `json:"cpu,omitempty"`
	// Memory reserved and, unless memoryLimit is set, the limit as well.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",message="want a quantity such as '256Mi'"
	Memory string `json:"memory,omitempty"`
	// CPULimit stops a pod from using more. Absent: not limited, so a peak may use what is free.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",message="want a quantity such as '500m' or '2'"
	CPULimit string `json:"cpuLimit,omitempty"`
	// MemoryLimit ends a pod that uses more.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",message="want a quantity such as '512Mi'"
	MemoryLimit string `json:"memoryLimit,omitempty"`
}

// Scale says how the number of pods follows the work. Each of requestsInFlight, requestsPerSecond, cpu and triggers asks
// for a number, and the highest counts. Where none is given, an App with a port scales on 20 requests in flight for each
// pod, one without on 70 % of the CPU it reserves.
//
// +kubebuilder:validation:XValidation:rule="(has(self.min) ? self.min : 1) <= (has(self.max) ? self.max : 10)",message="min is above max, which is 10 if not given"
type Scale struct {
	// Min is the fewest pods. Default 1. With 0 the App rests without work, and the first request or message starts it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Min *int32 `json:"min,omitempty"`
	// Max is the most pods. Default 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Max *int32 `json:"max,omitempty"`
	// RequestsInFlight is how many requests a pod takes at a time, as the gateway sees them.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RequestsInFlight int32 `json:"requestsInFlight,omitempty"`
	// RequestsPerSecond is how many requests a pod takes in a second, as the gateway sees them.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RequestsPerSecond int32 `json:"requestsPerSecond,omitempty"`
	// CPU is how much of the CPU they reserve the pods should use, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	CPU int32 `json:"cpu,omitempty"`
	// Triggers are further sources of work, such as queues.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Triggers []ScaleTrigger `json:"triggers,omitempty"`
	// QuietSeconds is how long the work must have been less before pods are taken away, and how long there must have been
	// none before the last one is. Default 300.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	QuietSeconds *int32 `json:"quietSeconds,omitempty"`
}

// ScaleTrigger is a source of work: a trigger of KEDA.
type ScaleTrigger struct {
	// Type such as "rabbitmq", "kafka" or "cron".
	// +kubebuilder:validation:MinLength=1
	Type string `json:"type"`
	// Metadata are the parameters of the type, as KEDA documents them.
	Metadata map[string]string `json:"metadata"`
	// Authentication is the name of the TriggerAuthentication with the credentials.
	// +optional
	Authentication string `json:"authentication,omitempty"`
}

// Storage is a folder that outlives a container's restart.
type Storage struct {
	// Path at which the App sees it.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[^:]+$')",message="want an absolute path below '/', without ':'"
	Path string `json:"path"`
	// Size is the most it may hold, such as "1Gi". Absent: what the node has.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",message="want a quantity such as '1Gi'"
	Size string `json:"size,omitempty"`
}

// The conditions of an App.
const (
	// ConditionReady is true when the newest revision serves: all desired pods are ready and, for a routed App, the
	// gateway has accepted the route.
	ConditionReady = "Ready"
	// ConditionReconciling is true while the objects move towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when no progress can be made without a person; the message names the next step.
	ConditionStalled = "Stalled"
	// ConditionReplicasIgnored is true while an autoscaler made by hand scales the Deployment of an App with a fixed number
	// of pods; the message names it. It is absent otherwise.
	ConditionReplicasIgnored = "ReplicasIgnored"
)

// AppStatus is what was seen.
type AppStatus struct {
	// ObservedGeneration is the generation of the spec this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Desired is how many pods the spec, or the scaler for it, asks for.
	// +optional
	Desired int32 `json:"desired"`
	// Observed is how many pods of the newest revision are ready.
	// +optional
	Observed int32 `json:"observed"`
	// Revision is the newest revision: eight hexadecimal digits.
	// +optional
	Revision string `json:"revision,omitempty"`
	// URL at which a routed App answers.
	// +optional
	URL string `json:"url,omitempty"`
	// Conditions are Ready, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
