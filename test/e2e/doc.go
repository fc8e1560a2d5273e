// Package e2e holds the stories: the program started as a person starts it, used, broken and started again. Each runs
// in a data directory of its own and, where pods are involved, in a network of its own, so that the machine is left as
// it was found.
//
// Stories that leave a platform as it was share one, which runs the shop. Whatever a platform leaves behind when it is
// stopped, be it a process, a mount, a cgroup, an interface or a table, fails the test, and of the shared platform the
// whole package.
//
// The program is built from this source; the environment variable ESCALE_BINARY names another one to test.
package e2e
