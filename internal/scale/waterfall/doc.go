// Package waterfall shows where the time of a scale-up went: from the demand that was seen to the first answer of a new
// pod, stage by stage. The scaler says when it acts; everything else is seen in watches of pods and told by data planes.
//
// The stages follow one another without a gap, so that their sum is what a user waited:
//
//	signal        the demand was observed .. the decision was made
//	decision      .. the API server accepted the new number of replicas
//	placement     .. the pod has a node, or the scheduler found none with room
//	node          .. a node with room was there and the pod is bound to it (0 where one was there at once)
//	start         .. all containers run: image, volumes, init containers, the program's exec
//	ready         .. the readiness probe passed: the application's own start
//	routed        .. a data plane may send requests to the pod
//	first answer  .. the pod answered one
//
// The record shows the pod that answered first: it ends the wait. Its reason says how the others did.
//
// Invariants:
//   - Times are taken when a watch shows the change, with the clock of this process: what Kubernetes writes into objects
//     has whole seconds. A stage therefore holds the delay of the watch that showed its end.
//   - A stage that is seen after one that must follow it ended no later than that one: a pod that answered was ready.
//   - A scale-up becomes one record of the timeline when its pods have answered, or when it is clear what keeps them
//     from it: nothing leads to them (10 s after they were ready), no request came (1 min), 15 min are over, or the
//     platform stops. Until then Running shows it and says where it stands.
//   - Memory is bounded: 1,000 scale-ups at a time, 50 pods of each. With none running, a pod's change costs a look-up.
//   - After a restart, pods that were there before belong to no scale-up.
//
// It does not tell the pods of a scale-up from those of a release that begins meanwhile: the first new pods of the
// workload count.
package waterfall
