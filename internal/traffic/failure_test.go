package traffic

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is the sum of all series of a metric with these label values.
func (p *plane) metric(name string, labels ...string) float64 {
	p.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(p.gateway.Collector())
	families, err := registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.Metric {
			have := map[string]bool{}
			for _, l := range m.Label {
				have[l.GetValue()] = true
			}
			fits := f.GetName() == "escale_gateway_"+name
			for _, l := range labels {
				fits = fits && have[l]
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// talker answers each connection with bytes, once it has read a request's header, and closes it.
func talker(t *testing.T, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, answer)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestErrorsAreCountedByKind(t *testing.T) {
	for _, c := range []struct {
		kind   failure
		answer string // what the backend sends; "-" where there is none
		code   int
	}{
		{connectRefused, "-", 502},
		{brokenOff, "", 502},
		{brokenOff, "HTTP/1.1 200 OK\r\nX: ", 502},
		{protocolError, "SMTP ready\r\n\r\n", 502},
		{protocolError, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502},
		{protocolError, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", 502},
		{answerTruncated, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200},
	} {
		t.Run(fmt.Sprintf("%s: %.20q", c.kind, c.answer), func(t *testing.T) {
			address := closedAddress(t)
			if c.answer != "-" {
				address = talker(t, c.answer)
			}
			p := startPlane(t, web(address), base, httpRoute("r", toWeb))
			res, body, err := p.do("POST", "/", nil)
			if c.kind == answerTruncated {
				if err == nil {
					t.Errorf("the client took %q for the whole answer", body)
				}
			} else if err != nil || res.StatusCode != c.code {
				t.Errorf("got %v %q %v, want %d", res, body, err, c.code)
			}
			until(func() bool { return p.metric("errors_total", "shop/r", "shop/web:80", c.kind.String()) == 1 })
			if n := p.metric("errors_total"); n != 1 {
				t.Errorf("%v errors, want one", n)
			}
		})
	}
}

func TestBytesAndConnectionsAreCounted(t *testing.T) {
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", 300))
	})), base, httpRoute("r", toWeb))
	for range 3 {
		if _, _, err := p.do("POST", "/", strings.NewReader(strings.Repeat("y", 70))); err != nil {
			t.Fatal(err)
		}
	}
	until(func() bool { return p.metric("in_flight") == 0 })
	for name, want := range map[string]float64{
		"received_bytes_total": 210, "sent_bytes_total": 900, "requests_total": 3, "response_seconds": 3,
		"errors_total": 0, "attempt_errors_total": 0,
	} {
		if got := p.metric(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if n := p.metric("connect_seconds"); n < 1 || n > 3 {
		t.Errorf("%v connections were made", n)
	}
}

// A pod that breaks off gets no more requests than it takes to notice, and the others answer.
func TestFailingEndpointIsEjected(t *testing.T) {
	var seen atomic.Int64
	bad := backendServer(t, func(http.ResponseWriter, *http.Request) {
		seen.Add(1)
		panic(http.ErrAbortHandler)
	})
	p := startPlane(t, web(bad, backendServer(t, describe), backendServer(t, describe)), base, httpRoute("r", toWeb))
	for range 200 {
		p.expect(200, "", "GET", "/")
	}
	if n := seen.Load(); n < gatewayErrorsToEject || n > gatewayErrorsToEject+1 { // net/http may send one twice
		t.Errorf("the failing pod was asked %d times", n)
	}
	if p.metric("ejections_total") != 1 || p.metric("endpoints", "ejected") != 1 || p.metric("endpoints", "ready") != 2 {
		t.Errorf("ejections %v, ejected %v, ready %v",
			p.metric("ejections_total"), p.metric("endpoints", "ejected"), p.metric("endpoints", "ready"))
	}
}

func TestEjectedEndpointComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(BackendKey{}, newSharedPlane(nil, 0))
		b.update(addresses{ready: []string{"bad", "good"}})
		set := b.set.Load()
		bad, good := set.ready[0], set.ready[1]
		fail := func() { b.attempted(bad, connectTimeout, 0, time.Now()) }
		for range gatewayErrorsToEject {
			fail()
		}
		picksBad := func(tried ...*endpoint) bool {
			for range 50 {
				if e, err := b.pick(tried); err != nil {
					t.Fatal(err)
				} else if e == bad {
					return true
				}
			}
			return false
		}
		if picksBad() {
			t.Error("the ejected endpoint is chosen")
		}
		if !picksBad(good) {
			t.Error("the ejected endpoint is not chosen when the other was tried")
		}
		time.Sleep(firstEjection + time.Millisecond) // the bubble's clock
		if !picksBad() {
			t.Error("the endpoint did not come back")
		}
		fail() // one is enough now
		time.Sleep(firstEjection + time.Millisecond)
		if picksBad() {
			t.Error("the second ejection is not longer than the first")
		}
		time.Sleep(firstEjection)
		b.attempted(bad, succeeded, 200, time.Now())
		if fail(); !picksBad() {
			t.Error("one error after a good answer ejects")
		}
	})
}

func TestCircuitBreaker(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", toWeb))
	b := p.gateway.backendList()[0]
	b.counts.inFlight.Add(inFlightAtLeast) // as if so many were on their way
	res := p.expect(503, "circuit breaker: Service \"shop/web:80\" has 8192 requests in flight, as many as its 1 ready pods may have", "GET", "/")
	if res.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
	}
	until(func() bool { return p.metric("errors_total", "overloaded") == 1 })
	if p.metric("breaker_open", "in flight") != 1 || p.metric("breaker_open", "pending") != 0 {
		t.Error("the open breaker is not shown")
	}
	b.counts.conversations.Add(1) // an upgraded connection is no request
	p.expect(200, "", "GET", "/")
	b.counts.inFlight.Add(-inFlightAtLeast)
	b.counts.conversations.Add(-1)
}

// A backend all of whose pods break off is not asked many times as often as its clients ask.
func TestRetriesStayWithinTheBudget(t *testing.T) {
	var seen atomic.Int64
	broken := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			seen.Add(1)
			panic(http.ErrAbortHandler)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	p := startPlane(t, web(broken(), broken(), broken(), broken()), base, httpRoute("r", toWeb))
	b := p.gateway.backendList()[0]
	b.budget.take(0, time.Now()) // from here on only what the window earns
	b.budget.mu.Lock()
	b.budget.retries, b.budget.at = 5, time.Now().Add(time.Hour) // and the clock stands still
	b.budget.mu.Unlock()
	const requests = 100
	for range requests {
		p.expect(502, "did not answer", "GET", "/")
	}
	if n := p.metric("retries_total"); n > 5+retryShare*requests+5 || n < 5 {
		t.Errorf("%v retries of %d requests", n, requests)
	}
	if p.metric("retries_denied_total") == 0 {
		t.Error("no retry was denied")
	}
}
