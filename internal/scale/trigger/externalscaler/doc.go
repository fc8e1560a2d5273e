// Package externalscaler is KEDA's external scaler protocol in Go, generated from externalscaler.proto. To generate it
// again, install the compiler (Debian: protobuf-compiler) and run go generate; the two plugins are built from their
// modules.
package externalscaler

//go:generate sh generate.sh
