package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawHTTP2 is a client of HTTP/2 without TLS that sends frames as a test says.
type rawHTTP2 struct {
	t      *testing.T
	conn   net.Conn
	out    bytes.Buffer
	framer *http2.Framer
	block  []byte // a header of GET /
}

func dialHTTP2(t *testing.T, address string) *rawHTTP2 {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &rawHTTP2{t: t, conn: conn}
	c.framer = http2.NewFramer(&c.out, conn)
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", "/"}} {
		if err := e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}); err != nil {
			t.Fatal(err)
		}
	}
	c.block = block.Bytes()
	c.out.WriteString(http2.ClientPreface)
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// get adds a request to what is sent.
func (c *rawHTTP2) get(stream uint32) {
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block, EndStream: true, EndHeaders: true})
	if err != nil {
		c.t.Fatal(err)
	}
}

// send sends what was added; the server may have closed the connection.
func (c *rawHTTP2) send() { _, _ = c.conn.Write(c.out.Bytes()); c.out.Reset() }

// goAway reads until the server says so; the connection may end without, or a ping be answered.
func (c *rawHTTP2) goAway() (code http2.ErrCode, said bool) {
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return 0, false
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return f.ErrCode, true
		case *http2.PingFrame:
			return 0, false
		}
	}
}

// A client that opens streams and resets them at once costs no more than one that waits for its answers: see
// CVE-2023-44487.
func TestRapidReset(t *testing.T) {
	var now, most atomic.Int64
	p := startPlane(t, web(backendServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		defer now.Add(-1)
		fmt.Fprint(w, "ok")
	})), base, httpRoute("r", toWeb))
	c := dialHTTP2(t, p.address)
	for i := range uint32(20_000) {
		c.get(2*i + 1)
		if err := c.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.framer.WritePing(false, [8]byte{}); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() { defer close(sent); c.send() }()
	if code, said := c.goAway(); said && code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("the connection ended with %v, want %v", code, http2.ErrCodeEnhanceYourCalm)
	}
	_ = c.conn.Close()
	<-sent
	p.expect(200, "ok", "GET", "/")
	for _, b := range p.gateway.backendList() {
		until(func() bool { return b.counts.inFlight.Load() == 0 })
	}
	if most.Load() > maxStreams {
		t.Errorf("%d requests at the backend at once from one connection, which may have %d", most.Load(), maxStreams)
	}
}

// When the gateway drains, a client of HTTP/2 is told to go elsewhere, and its request is answered before.
func TestDrainingSaysGoAway(t *testing.T) {
	p := startPlane(t, web(backendServer(t, describe)), base, httpRoute("r", toWeb))
	p.gateway.Drain()
	c := dialHTTP2(t, p.address)
	c.get(1)
	c.send()
	answered, away := false, false
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) && !away {
				t.Errorf("the connection ended with: %v", err)
			}
			break
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			answered = answered || f.StreamEnded()
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo || f.LastStreamID < 1 {
				t.Errorf("got %v after stream %d", f.ErrCode, f.LastStreamID)
			}
			away = true
		}
	}
	if !answered || !away {
		t.Errorf("answered: %v, told to go: %v", answered, away)
	}
}

// A client that leaves while its request waits for a pod is noticed, though its body was not read.
func TestHeldClientThatLeavesIsNoticed(t *testing.T) {
	p := startPlane(t, nil, base, httpRoute("r", toWeb))
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nsome")
	b := p.gateway.backendList()[0]
	until(func() bool { return b.held.Load() == 1 })
	_ = conn.Close()
	until(func() bool { return b.held.Load() == 0 })
	until(func() bool { return p.series("shop/web:80").failures[clientGone].Load() == 1 })
}
