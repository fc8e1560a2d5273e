// Package registry is the platform's own OCI registry: it keeps the images `escale deploy` builds, so that a revision
// is a digest that cannot change.
//
// The protocol is go-containerregistry's. This package adds what that one leaves out: blobs and manifests are on disk,
// synced before they are acknowledged; uploads are spooled to disk rather than held in memory; bodies are limited; a
// manifest pushed by digest must have that digest.
//
// It speaks plain HTTP without a login, so it serves loopback addresses only and answers requests that name an IP
// address or localhost only, which keeps pages of a browser on this machine out. It deletes nothing: a revision that
// someone may roll back to needs its image.
package registry
