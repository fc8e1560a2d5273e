// Package decision decides how many pods a workload has. Decide is a pure function: settings, what was remembered and the
// facts of a moment go in, a Plan with its reasons comes out. It reads no clock and asks no client, so the same code runs
// in production, in tests, in fuzzing and in replays of a day under virtual time.
//
// The way from facts to a number:
//
//  1. Each metric becomes a demand: the newest value or, where it has windows, the higher of the lowest value of the
//     short window and the mean of the long one. A peak counts when the whole short window shows it; steady work counts
//     in the mean, however uneven it is.
//  2. Each demand becomes a number of pods, as the HorizontalPodAutoscaler computes it (replica_calculator.go of
//     Kubernetes 1.36): ceil(demand / target) for AverageValue, ceil(demand / target × ready pods) for Value and, over
//     the pods that exist, for Utilization. Within the tolerance of the present number nothing changes.
//  3. The highest number of all metrics counts. A metric that cannot be read counts with its last value, and nothing is
//     taken away meanwhile; after the threshold of failures the fallback counts instead.
//  4. Stabilisation windows, policies and bounds apply in the order of the HPA (horizontal.go,
//     stabilizeRecommendationWithBehaviors and convertDesiredReplicasWithBehaviorRate). Unlike the HPA there is no
//     limit on adding pods where the object gives none: a fivefold demand is one step. While the newest value of a
//     metric asks for more than its demand does, a step up waits for the short window to confirm it, once and no longer
//     than that window.
//  5. Without work for the cool-down the workload goes to zero or to its idle count, as KEDA 2.21 does
//     (scale_scaledobjects.go); with work it comes back to what the demand asks for in one step.
//  6. While a caller of the workload fails, nothing is taken away, for a bounded time.
//
// Invariants:
//   - A plan is within the bounds, or is the number that is there already, or a paused one.
//   - More demand never asks for fewer pods, save that a rise may wait to be confirmed.
//   - Nothing is taken away within the stabilisation period after pods were added, save by a bound, a pause or an idle
//     workload.
//   - Memory is bounded by the windows.
package decision
