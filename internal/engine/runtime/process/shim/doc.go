// Package shim is the first process of a container: the program's own binary, started under another name, that builds
// the container's view of the machine, gives up its powers and becomes the program to run.
//
// It works in a package init because it must be done before the packages of Kubernetes initialise: their half second
// and their memory would be paid by every container. For the same reason it imports next to nothing: Go initialises a
// package as soon as its imports are ready. Any binary that links this package can start containers by executing
// itself with the name Name.
//
// The parent talks to it over a socket, file descriptor 3: a Spec as JSON, then end of file; back come status bytes,
// see the Status constants, and end of file when the program runs. Namespaces to join follow as descriptors 4 and up.
//
// Everything after the namespaces are joined happens inside the container's own mount namespace, and volumes are
// attached only after the root was switched, so that no symbolic link in an image or a volume leads outside.
package shim
