// Package topology knows which workloads a cluster has, which pods are theirs and which Services lead to them. It keeps
// an index of what the manager's watches tell: Pods, ReplicaSets, Deployments, StatefulSets, DaemonSets and Services.
//
// A pod belongs to its controller, or to that one's controller where it is a ReplicaSet: a Deployment, or any other kind
// that works through ReplicaSets. A Service leads to the workloads whose pods its selector takes; while there are none,
// to the Deployments and StatefulSets whose pods it would take, so that a request for a workload at zero finds it.
//
// It does not know: pods without a controller as workloads, Services without a selector.
package topology
