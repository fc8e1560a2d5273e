// Package cli is the command line, one file per command.
//
// A Program holds the streams and is given the commands that run the platform itself, so that this package and its
// tests link clients only. Its invariants:
//
//   - What was asked for goes to standard output, everything else to standard error.
//   - A failure is a sentence and a line that begins with "next:"; never a chain of causes alone, never a stack.
//   - Colour, spinners and rewritten lines appear on a terminal only, and NO_COLOR turns colour off there as well.
//   - The exit code is 0 when done, 1 when it failed, 2 when asked wrongly, 3 when something is not ready, 130 when
//     interrupted.
//   - The cluster is the one that was named, or the one of this machine's platform; never one that a file in the home
//     folder happens to name.
package cli
