// Package fastpath is the raw HTTP/1.1 path of the gateway: event loops on non-blocking sockets that bring plain requests
// to backends and answers back, for a fraction of what net/http costs. What is not plain goes to the reference path, the
// http.Server that accepts from Server: for good (a connection that speaks another protocol or is not understood) or for
// one request (a route that has to wait, or to be tried again).
//
// Invariants:
//   - What is not understood completely, byte by byte, is not forwarded from here. The parser takes a subset of RFC 9112
//     that leaves no choice: one space, CR LF, one Host, one length; no chunked request, no folded line, no escape or dot
//     segment in the path. A refused request goes to the reference path, byte for byte as it came.
//   - A request that reached a backend goes nowhere else, unless no byte of an answer came and it means the same twice.
//   - What one connection holds is bounded: a head, and one read of what the other side does not take yet.
//   - A loop never waits for anything but epoll. A request that goes well allocates nothing.
//   - Without connections a loop sleeps; with idle ones it wakes when they expire.
//
// It does not terminate TLS, speak HTTP/2 or upgrade, and knows no routes: see Router.
package fastpath
