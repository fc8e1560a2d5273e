// Package e2e holds the stories: the program started as a person starts it, used, broken and started again. Each runs
// in a data directory of its own and, where pods are involved, in a network of its own, so that the machine is left as
// it was found.
package e2e
