// Package platform is the composition root: it starts the engine, then one explicit list of capabilities on it, and
// stops all of it in mirror order. It decides nothing itself.
package platform
