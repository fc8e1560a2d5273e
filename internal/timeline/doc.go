// Package timeline keeps the record of what the platform did: who acted, on which object, from what to what, why, and
// how long each stage took. The command line, the portal and the tests read the same records.
//
// Invariants:
//   - Records keep the order in which they were added, whatever the clock did in between.
//   - The last 10,000 records are in memory; on disk are two files of at most 8 MB, of which the older is replaced.
//   - A record is in the kernel's hands when Add returns, so it survives kill -9. It is not synced to the disk: a power
//     cut may lose the last seconds.
//   - A line that a crash left half written is cut off at the next Open; a line that cannot be read is passed over.
//
// Secrets never enter. Every text of a record is shown on a page and written to a file, so Reason holds numbers,
// names, conditions and error texts of the platform's own acts: never the value of an environment variable or a
// Secret, an object's data, a header, a query string or output of an application.
//
// It is not an audit log (acts that a person performs through the Kubernetes API appear only where a controller of the
// platform reacts to them), and it is not shared: one process writes, others may call Load.
package timeline
