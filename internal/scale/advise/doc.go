// Package advise holds what applications reserve against what they use, and says which target of CPU utilisation would
// still have met the peaks of the past.
//
// # The method
//
// A scaler with a target utilisation u keeps pods for use/u: 1/u is the headroom. The use rises while new pods are on
// their way, for the reaction time R of the loop, from use(t) to at most peak(t), the highest use within R after t. No pod
// runs at its limit meanwhile if peak(t) <= use(t)/u. Over all t, the highest target that would have met every rise is
//
//	u = min over t of use(t) / peak(t)
//
// Rises to at most what one pod reserves do not count: one pod bears them. Rises from rest, from less than one pod at the
// highest target, are met by no target but by the fewest pods that are kept: how many it takes is said beside it. The use is a mean over five seconds, since one second of CPU time says more of the scheduler than of demand. The target is
// at most 90 %: above that, waiting times grow whatever the scaler does (the utilisation law of queueing theory: the
// wait is proportional to 1/(1-u)). The derivation is our own; it holds for a workload whose use follows its demand.
//
// What it would have reserved is use/u on average, and no less than the fewest pods.
//
// It is a look back: a rise steeper than any in the recording is not met. Memory is only compared, because pods do not
// give it back when demand falls, and what a pod needs at its highest is what it must reserve.
package advise
