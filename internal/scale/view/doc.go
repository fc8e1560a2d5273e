// Package view is what the Scaling page shows: how many pods each scaled workload has and wants, why, what keeps it from
// more or fewer, how long its scale-ups took, what it wastes, and its office hours.
//
// Invariants:
//   - Views are pure functions of Facts; the time is a part of it.
//   - A number that is old is shown with its age, one that is not known as not known.
//   - Whatever keeps a workload from what its demand asks for is named with its reason, and the next step where a person
//     has to do something.
//
// It reads no cluster and decides nothing: package scale gathers the facts.
package view
