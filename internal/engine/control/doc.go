// Package control is how the command line asks the running platform of this machine for what only that process can do:
// start and stop nodes, and make a new login for the portal.
//
// It is HTTP with JSON over a unix socket in the data directory. Who may open the socket may ask: it has mode 0600, so
// that is the user who runs the platform, and root. It carries no secrets other than logins and takes no other
// authorisation. Whatever can be said with Kubernetes objects is said with those and not here.
package control
