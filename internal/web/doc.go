// Package web is the shell of the portal: the server, the login, the frame around every page, the one style sheet and
// the one script. Capabilities bring pages; the shell makes each of them HTML for people, JSON for scripts (Accept:
// application/json) and a live stream (Accept: text/event-stream) from one typed view.
//
// Invariants:
//   - Everything but /login, /healthz and the assets needs a session.
//   - Only requests addressed to a loopback name or a configured host are answered, so that a foreign name that
//     resolves to this machine (DNS rebinding) reaches nothing.
//   - A request that changes something and comes from another origin is refused.
//   - Pages load nothing from elsewhere and hold no inline script or style; the content security policy says so.
//   - Tokens and session identifiers are kept as hashes only and are never logged.
//
// It does not encrypt: it listens on loopback, and a proxy in front of it brings TLS. It knows one kind of person, who
// may do everything; roles are the Kubernetes API's business.
package web
