// Package build turns an App's source folder into an OCI image and pushes it to a registry.
//
// A folder with a Go program becomes an image of that program alone; any other folder becomes an image of its files,
// after its build command if it has one. Both are at /app. There is no base image: the process runtime supplies the
// machine's own programs and libraries.
//
// Invariant: the same content gives the same digest, wherever and whenever it is built, so that deploying what is
// deployed already changes nothing. Names and the executable bit count; times, owners and the order of a folder do not.
//
// It knows nothing of Kubernetes. Between builds it keeps the last program of each Go folder in the user's cache, so that
// what has not changed is not linked again; everything else go caches itself.
package build
