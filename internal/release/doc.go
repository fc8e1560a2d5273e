// Package release is the capability that brings an application from its file to serving: it reads escale.yaml, renders
// an App to plain upstream objects, applies them, and says what became of them.
//
// It serves the kind App (escale.dev/v1alpha1) and writes Deployment, CronJob, Service, ServiceAccount,
// PodDisruptionBudget, HTTPRoute (Gateway API v1) and ControllerRevision. The steps are
//
//	Parse → Render → Apply → Gather → Observe
//
// of which Parse, Render and Observe are pure: the controller, the command line and the portal call the same three.
//
// Invariants:
//   - What Render returns is all there is: applying it with kubectl gives the same application.
//   - An App is Ready only when the pods of its newest revision are, and the gateway has taken its route.
//   - Deploy reports success only after the new revision has answered a request (see Deploy for what counts).
//   - Apply touches no object that belongs to someone else, and removes those it made that are no longer rendered.
//   - The controller keeps nothing it could not find again after a restart: the history is in ControllerRevisions.
//
// It does not build images (see the interface Builder), route requests, or choose how many pods there are: an App
// without replicas leaves the number to whoever scales its Deployment.
package release
