// Package hours keeps office hours: it takes workloads down when nobody uses them and brings them back, as the
// annotations of kube-downscaler (downscaler/uptime and its kin) on namespaces and workloads say, unchanged.
//
// It serves Deployments and StatefulSets (their replicas), Apps that fix their replicas, CronJobs (suspended),
// HorizontalPodAutoscalers (minReplicas) and ScaledObjects (KEDA's pause annotation). A workload that another of these
// controls is left to it, with the annotations of both: a Deployment to the App that fixes its replicas, to the
// ScaledObject that scales it, or to a HorizontalPodAutoscaler where pods are to be left (one without pods does nothing,
// so that a Deployment that goes to zero goes there itself).
//
// Invariants:
//   - The decision is a pure function of annotations, state and time. It names the next moment at which it may change,
//     and nothing is looked at before then unless an object changes.
//   - An annotation that cannot be read changes nothing: the workload stays as it is, and an event and the annotation
//     escale.dev/office-hours of the workload say what is wrong and how to write it.
//   - How many replicas to come back to is kept on the workload (downscaler/original-replicas) in the same write that
//     takes it down, so that a restart, or kube-downscaler itself, finds it.
//   - What is scaled up during its downtime is taken down again, as by kube-downscaler: downscaler/exclude-until is the way
//     to keep it up. What somebody scaled to another number stays there at the next uptime.
//   - Times are those of the time zone that is named, whatever the machine's; the zones are in the program.
//
// What it saved is counted on the workload: reserved CPU and memory of the pods that were not there, for as long as they
// were not. Nothing is counted for CronJobs and HorizontalPodAutoscalers, because what they would have run is not known.
//
// It does not do: DaemonSets, Jobs, PodDisruptionBudgets and Argo Rollouts, which some of the fork's versions take down
// too, and downscaler/force-uptime on pods.
package hours
