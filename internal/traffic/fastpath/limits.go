package fastpath

import "time"

// The limits that the raw path and the reference path have in common.
const (
	// HeadTimeout is how long a client may take to send a request's header.
	HeadTimeout = 10 * time.Second
	// ClientIdle is how long a client's connection is kept without a request.
	ClientIdle = 2 * time.Minute
	// WriteStall is how long a client may take no byte of an answer.
	WriteStall = time.Minute
	// SlowBodyGrace and SlowBodyRate are how fast a request's body of known length must come: in this time, plus one
	// second for so many bytes of it. Apache's mod_reqtimeout defines the same.
	SlowBodyGrace = 30 * time.Second
	SlowBodyRate  = 500
	// MaxResponseHead is the longest header of an answer.
	MaxResponseHead = 64 << 10

	// DialTimeout survives one lost packet, whose repetition comes after one second.
	DialTimeout = 2 * time.Second
	// UpstreamIdle is how long a connection to a pod is kept without a request: below the five seconds after which common
	// servers close one that is not used, so that a request seldom meets one that is being closed.
	UpstreamIdle = 4 * time.Second
	// MaxIdle is how many connections to one pod are kept without a request.
	MaxIdle = 1024
)
