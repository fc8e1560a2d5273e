package traffic

import (
	"time"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
)

// The limits of the data plane; those that the raw path has too are package fastpath's. docs/gateway.md lists them under
// "Limits".
const (
	// maxHeaderBytes bounds the header of a request and of an answer, each.
	maxHeaderBytes = fastpath.MaxResponseHead
	// readHeaderTimeout is how long a client may take to send a request's header.
	readHeaderTimeout = fastpath.HeadTimeout
	// clientIdleTimeout is how long a client's connection is kept without a request.
	clientIdleTimeout = fastpath.ClientIdle

	// dialTimeout bounds the making of a connection to a pod.
	dialTimeout = fastpath.DialTimeout
	// idleConnection is how long a connection to a pod is kept without a request.
	idleConnection = fastpath.UpstreamIdle
	// unackedTimeout is how long a pod may leave bytes without an acknowledgement.
	unackedTimeout = 10 * time.Second
	// probeAfter, probeEvery and probes are the keep-alive probes of a connection to a pod that is silent.
	probeAfter = 5 * time.Second
	probeEvery = 2 * time.Second
	probes     = 3
	// maxIdlePerEndpoint is how many connections to one pod are kept without a request.
	maxIdlePerEndpoint = fastpath.MaxIdle

	// maxAttempts leaves room for two endpoints that vanished together, as when a node is lost.
	maxAttempts = 3

	// DefaultHold is how long a request waits for the first ready pod of its backend: long enough for a pod that has to
	// be placed and started.
	DefaultHold = 60 * time.Second
	// MaxHold bounds what Deps.Hold can ask for.
	MaxHold = 10 * time.Minute
	// hopelessHold is how long it waits where no workload is known behind the Service.
	hopelessHold = 10 * time.Second
	// startHold is how long a request waits for the first table.
	startHold = 10 * time.Second
	// maxHeld is how many requests wait for one backend. Their bodies are not read meanwhile.
	maxHeld = 256
	// maxHeldInAll is how many requests wait, over all backends.
	maxHeldInAll = 4096

	// slowBodyGrace and slowBodyRate are how fast a request's body of known length must come.
	slowBodyGrace = fastpath.SlowBodyGrace
	slowBodyRate  = fastpath.SlowBodyRate
	// streamIdle is how long a TLS stream is kept without a byte in either direction.
	streamIdle = time.Hour
	// bodyStall is how long a body in chunks may pause.
	bodyStall = 60 * time.Second
	// writeStall is how long a client may take no byte of an answer; it may be twice as long.
	writeStall = fastpath.WriteStall

	// maxConnections is how many connections from outside there are at most; see connectionLimit.
	maxConnections = 20_000
	// maxStreams is how many requests one HTTP/2 connection carries at once. A client that opens and resets streams
	// faster than they are served is cut off by net/http, which queues four times as many.
	maxStreams = 128
	// streamBuffer and connectionBuffer are how much of requests' bodies an HTTP/2 client may send before a backend takes
	// it.
	streamBuffer     = 256 << 10
	connectionBuffer = 512 << 10
	// pingAfter and pingTimeout find an HTTP/2 client that is gone without a word.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second

	// shutdownTimeout is how long the requests in flight may take to finish when the gateway stops.
	shutdownTimeout = 20 * time.Second
)
