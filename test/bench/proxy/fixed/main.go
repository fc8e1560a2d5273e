// Command fixed is the raw HTTP/1.1 path with one route and nothing else: what it can do without a table.
package main

import (
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/escale-dev/escale/internal/traffic/fastpath"
)

type router struct{ upstream *fastpath.Upstream }

func (f router) Route(_ *fastpath.Request, x *fastpath.Exchange) fastpath.Way {
	x.Upstream = f.upstream
	return fastpath.Forward
}

func (router) Dialled(*fastpath.Exchange, time.Duration, error) {}

func (router) Answered(*fastpath.Exchange, int, time.Time) {}

func (router) Repeat(*fastpath.Exchange, error, time.Time) bool { return true }

func (router) Explain(_ *fastpath.Exchange, _ fastpath.Reason, _ error) (int, string) {
	return http.StatusBadGateway, "no answer"
}

func (router) Done(*fastpath.Exchange, fastpath.Outcome) {}

func main() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	upstream, err := fastpath.NewUpstream(os.Args[2], nil)
	if err != nil {
		log.Fatal(err)
	}
	s, err := fastpath.Listen(l.(*net.TCPListener), router{upstream})
	if err != nil {
		log.Fatal(err)
	}
	reference := &http.Server{
		Handler:   httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: os.Args[2]}),
		ConnState: fastpath.ConnState,
	}
	log.Fatal(reference.Serve(s))
}
