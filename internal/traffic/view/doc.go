// Package view is what the Traffic page shows: views made of what the gateway counts and of the objects it serves, and
// the last five minutes of every route that had requests.
//
// Invariants:
//   - Views are pure functions of Facts; the time is a part of it.
//   - The history is bounded: 300 samples and 60 histograms of each of at most 500 routes. A route without requests
//     takes nothing.
//   - Whatever is held, ejected, broken or refused is named with its reason and the next step.
//
// It reads no cluster and serves no request: package traffic gathers the facts.
package view
