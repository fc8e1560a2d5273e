// Package doctor says whether a machine can run the platform, and what to do where it cannot.
//
// Gather looks at the machine and changes nothing: it opens ports and a file for a moment, at most. Judge is pure: facts
// in, findings with their next steps out. What it finds missing is either required, or named with what will not work.
package doctor
