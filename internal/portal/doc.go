// Package portal is the platform's own pages: what runs, where, what is wrong with it, and what the platform did.
//
// It reads Apps, and the Deployments, ReplicaSets, CronJobs, Jobs, Pods, HTTPRoutes, Events and Nodes behind them, from
// the manager's cache, and the timeline. It serves
//
//	/                                       apps, nodes and the latest records
//	/apps/{namespace}/{name}                one app: its tree, conditions, events and actions
//	/timeline                               the timeline, with a search
//	/pods/{namespace}/{name}/logs           a container's log, live
//	POST /apps/{namespace}/{name}/restart   replaces the pods one after the other, as kubectl rollout restart does
//
// Invariants:
//   - Views are pure functions of what was gathered; the time is a part of it.
//   - Nothing polls: pages are made anew when an object changed, at most five times a second.
//   - A state has a word and an icon; colour only repeats it.
//   - JSON fields are never renamed or taken away.
//
// It decides nothing: the sentence about what is wrong explains the state of upstream objects to a person, and the
// restart is a patch of a Deployment. It shows no Secret and no environment variable.
package portal
