// Package schema knows the parameters of every scaler of KEDA and reads a trigger's metadata as KEDA does: where a value
// may come from and in which order, defaults, names that were replaced, allowed values, and how numbers, durations,
// lists and maps are written. schema.json is generated from KEDA's published schema; Resolve is pure.
//
// It does not know the rules that a single scaler adds in code, such as two parameters that exclude each other: those
// are with the sources.
package schema

//go:generate go run ./gen
