package traffic

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The status codes of gRPC that the gateway answers with: see "Status codes and their use in gRPC".
const (
	grpcUnknown          = 2
	grpcDeadlineExceeded = 4
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// isGRPC says whether a request is a call, which understands no answer but gRPC's.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// grpcWriter marks an answer to a call.
type grpcWriter struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController find what the writer can do.
func (w grpcWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answerGRPC gives an answer of the gateway's own to a call: a header alone, with the code that stands for HTTP's.
func answerGRPC(w http.ResponseWriter, code int, text string) {
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(grpcCode(code)))
	h.Set("Grpc-Message", url.PathEscape(text))
	w.WriteHeader(http.StatusOK)
}

// grpcCode is the code of gRPC for one of HTTP, as gRPC's own table has it, but that a rule without a usable backend is
// "unavailable", which GRPCRoute asks for, and a timeout "deadline exceeded".
func grpcCode(code int) int {
	switch code {
	case http.StatusBadRequest:
		return grpcInternal
	case http.StatusUnauthorized:
		return grpcUnauthenticated
	case http.StatusForbidden:
		return grpcPermissionDenied
	case http.StatusNotFound:
		return grpcUnimplemented
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return grpcDeadlineExceeded
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		return grpcUnavailable
	}
	return grpcUnknown
}
