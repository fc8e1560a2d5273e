package traffic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// failure is the kind of an error, as it is counted.
type failure uint8

const (
	succeeded failure = iota
	// What an attempt at a pod can end with.
	connectRefused
	connectTimeout
	connectFailed   // any other way not to get a connection
	brokenOff       // the connection ended before the answer's header
	protocolError   // what came is not an answer
	responseTimeout // a timeout of the route passed
	answerTruncated // the connection ended within the answer's body
	// What a request can end with besides.
	noEndpoint // no pod became ready in time
	holdFull   // too many requests wait for a pod already
	overloaded // the backend has as many requests in flight as it may have
	clientGone
	requestTooSlow // the client took too long to send the request's body
	badRequest     // the request's body is malformed
	notServed      // the route cannot be served as it is written
	failures       // how many there are
)

var failureNames = [failures]string{
	"", "connect refused", "connect timeout", "connect failed", "broken off", "protocol error", "response timeout",
	"answer truncated", "no endpoint", "hold full", "overloaded", "client gone", "request too slow", "bad request", "not served",
}

// String is the kind as metrics name it.
func (f failure) String() string { return failureNames[f] }

// ofGateway says that the pod, or the way to it, failed before it answered.
func (f failure) ofGateway() bool { return f >= connectRefused && f <= responseTimeout }

// ofClient says that the client failed, so that nothing is known of the pod.
func (f failure) ofClient() bool { return f >= clientGone && f <= badRequest }

// classify finds the kind of the error of an attempt.
func classify(err error) failure {
	var op *net.OpError
	switch {
	case err == nil:
		return succeeded
	case errors.Is(err, errBackendTimeout), errors.Is(err, errRequestTimeout):
		return responseTimeout
	case errors.Is(err, errBodyTooSlow):
		return requestTooSlow
	case errors.Is(err, errBadBody):
		return badRequest
	case errors.Is(err, errClientGone), errors.Is(err, context.Canceled), errors.Is(err, http.ErrAbortHandler):
		return clientGone
	case errors.Is(err, errNoEndpoint):
		return noEndpoint
	case errors.Is(err, errHoldFull):
		return holdFull
	case errors.Is(err, errOverloaded):
		return overloaded
	case errors.As(err, &op) && op.Op == "dial":
		return classifyDial(op)
	case broken(err):
		return brokenOff
	}
	return protocolError
}

func classifyDial(op *net.OpError) failure {
	switch {
	case errors.Is(op, syscall.ECONNREFUSED):
		return connectRefused
	case op.Timeout():
		return connectTimeout
	}
	return connectFailed
}

// broken says that a connection ended; net/http has texts for it that no value stands for.
func broken(err error) bool {
	var netErr net.Error
	var errno syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) || errors.As(err, &errno) ||
		strings.Contains(err.Error(), "server closed") || strings.Contains(err.Error(), "GOAWAY") ||
		strings.Contains(err.Error(), "connection lost")
}
