// Package trigger reads the demand that scaling acts on from where it is: the gateway's live facts, pods' use of CPU and
// memory, a clock, the queues, logs and databases that applications work on, and anything behind KEDA's external scaler
// protocol. It takes the triggers of KEDA's ScaledObject and ScaledJob unchanged: the same type names, metadata,
// defaults, deprecated names and metric names, and refuses what KEDA refuses.
//
// Which types are built in is one list, in builtin.go. Whether a configuration is valid is known without connecting:
// Verdict answers it for every type that KEDA has, built in or not.
//
// Invariants:
//   - New opens no connection; a server that is down is an error of Read, never of New.
//   - A source keeps at most a few connections, opens them when needed, replaces broken ones by itself and gives all of
//     them back on Close.
//   - Reading never takes work from those who do it: queues are counted, not consumed.
//   - No error, metric name or reading holds a password, token or key.
//
// It decides nothing: how many replicas a reading means is the decision's matter.
package trigger
