package traffic

import (
	"log/slog"
	"net/http"
)

// newServer makes the HTTP server of a socket, with the limits of a connection. Its listener should be one of
// connections.listen.
func (g *Gateway) newServer(h http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:                      h,
		Protocols:                    protocols,
		MaxHeaderBytes:               maxHeaderBytes,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  clientIdleTimeout,
		DisableGeneralOptionsHandler: true,
		ConnState:                    g.connections.state,
		ConnContext:                  withClient,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: connectionBuffer,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              writeStall,
		},
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// lastOfConnection says whether no other request may follow on the connection. RFC 9112 section 6.1 asks for it when a
// request has both Transfer-Encoding and Content-Length, and when one of HTTP/1.0 has Transfer-Encoding. net/http does
// not tell these from others, so it holds for every request in chunks and every one of HTTP/1.0.
func lastOfConnection(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0)
}
