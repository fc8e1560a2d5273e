// Package scale decides how many pods a workload has. It serves ScaledObject, ScaledJob, TriggerAuthentication and
// ClusterTriggerAuthentication of keda.sh/v1alpha1.
//
// Sources of demand (package trigger) and live facts (package signal) come in; the decision (package decision) is pure;
// what comes out is a number of pods, written to the workload's scale subresource, or Jobs. One loop wakes on the ticks
// of the signal store, on pushes of sources and on requests that wait for a pod, and decides for every object that has
// news. Sources that cannot push are read by few goroutines, each second while they answer.
//
// Invariants:
//   - Two autoscalers never fight over a workload: where an HPA or an older ScaledObject scales it, the newer
//     ScaledObject does nothing and says so. An App with a fixed number of pods yields to a ScaledObject, save 0.
//   - Each change of a number of pods is a record of the timeline with the numbers that were seen.
//   - What an object asks for and cannot have is named in its condition Ready.
//   - No secret is in a status, an event, a log or an error.
//   - A source that is down takes no pods away.
//   - Without objects nothing runs and nothing is asked for.
//
// No HorizontalPodAutoscaler is made: status.hpaName stays empty. KEDA's HTTP add-on (HTTPScaledObject,
// InterceptorRoute) is not served; the trigger "requests" reads the gateway instead. Schedules of kube-downscaler are the
// package hours', which pauses ScaledObjects by their annotation.
package scale
