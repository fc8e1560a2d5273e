package network

import "github.com/escale-dev/escale/internal/engine"

// CheckConflict says what of this machine overlaps a plan; nil where nothing does. While a platform uses the plan, that
// is the platform itself.
func CheckConflict(plan engine.Network) error { return checkConflict(plan) }
