package fastpath

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRequestReachesTheBackendWithForwardedHeaders(t *testing.T) {
	s := start(t, nil, echo)
	got := s.send("GET /a/b?x=1 HTTP/1.1\r\nHost: shop.localhost:80\r\nx-forwarded-for: 1.2.3.4\r\nForwarded: for=1\r\n" +
		"Accept:  */* \r\nX-Forwarded-Proto: https\r\nKeep-Alive: 3\r\nConnection: close\r\n\r\n")
	sent := "GET /a/b?x=1 HTTP/1.1\r\nHost: shop.localhost:80\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\n" +
		"X-Forwarded-Host: shop.localhost:80\r\nX-Forwarded-Proto: http\r\n\r\n"
	equal(t, "answer", got, fmt.Sprintf("HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(sent), sent))
	o := s.outcome()
	equal(t, "reason", o.Reason, Succeeded)
	equal(t, "bytes out", o.Out, int64(len(sent)))
}

func TestHeaderChanges(t *testing.T) {
	change := &HeaderChange{Drop: []string{"a", "date"}, Lines: []byte("B: 2\r\n")}
	s := start(t, func(r *fixedRouter) { r.change = change }, echo)
	got := s.send("GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 3\r\nConnection: close\r\n\r\n")
	if strings.Contains(got, "A: 1") || strings.Contains(got, "a: 3") || strings.Contains(got, "Date: now") || strings.Count(got, "B: 2\r\n") != 2 {
		t.Errorf("the header is not changed as asked: %q", got)
	}
}

func TestAnswers(t *testing.T) {
	const date = "Date: x\r\n"
	for _, c := range []struct{ name, method, backend, client string }{
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n" + date + "\r\n", "HTTP/1.1 204 No Content\r\n" + date + "Connection: close\r\n\r\n"},
		{"not modified with a length", "GET", "HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 5\r\n\r\n",
			"HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 5\r\nConnection: close\r\n\r\n"},
		{"HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\nConnection: close\r\n\r\n"},
		{"until the connection closes", "GET", "HTTP/1.1 200 OK\r\n" + date + "\r\nhello",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n" + date + "Content-Length: 2\r\n\r\nok",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nConnection: close\r\n\r\nok"},
		{"chunks in their plainest form", "GET", "HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n005;a=b\r\nhello\r\n0\r\nSum: 1\r\nContent-Length: 9\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nSum: 1\r\n\r\n"},
		{"chunks win over a length", "GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n"},
		{"hop-by-hop fields stay here", "GET", "HTTP/1.1 200 OK\r\n" + date + "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\nConnection: close\r\n\r\n"},
		{"interim answers", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\nConnection: close\r\n\r\n"},
		{"bytes behind the answer are no answer", "GET", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nConnection: close\r\n\r\nok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, nil, answerOnce(c.backend))
			equal(t, "answer", s.send(c.method+" / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), c.client)
			equal(t, "reason", s.outcome().Reason, Succeeded)
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"a list of lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
		"a signed length":     "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
		"an unknown encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"an encoding twice":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a folded line":       "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
		"no version":          "200 OK\r\n\r\n",
		"a bare line feed":    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"a control character": "HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
		"another protocol":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"interim for ever":    strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20),
		"nothing":             "",
		"half a head":         "HTTP/1.1 200 OK\r\nA:",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil, answerOnce(text))
			got := s.send("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			if i := strings.LastIndex(got, "HTTP/1.1 502 Bad Gateway\r\n"); i < 0 {
				t.Errorf("the client got %q", got)
			}
			equal(t, "reason", s.outcome().Reason, BackendFailed)
		})
	}
}

func TestTruncatedAnswerIsSeenAsSuch(t *testing.T) {
	for name, text := range map[string]string{
		"sized":     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"chunked":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"bad chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil, answerOnce(text))
			c, r := s.dial()
			s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			res, err := http.ReadResponse(r, nil)
			if err == nil {
				_, err = io.ReadAll(res.Body)
			}
			if err == nil {
				t.Error("a truncated answer looks whole")
			}
			equal(t, "reason", s.outcome().Reason, BackendFailed)
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := start(t, nil, echo)
	var all strings.Builder
	for i := range 20 {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", i)
	}
	c, r := s.dial()
	s.write(c, all.String())
	for i := range 20 {
		_, body := s.read(r, "POST")
		if !strings.HasPrefix(body, fmt.Sprintf("POST /%d HTTP/1.1\r\n", i)) || !strings.HasSuffix(body, "\r\n\r\nabc") {
			t.Fatalf("answer %d is to %q", i, body)
		}
	}
}

func TestHeadInPieces(t *testing.T) {
	s := start(t, nil, echo)
	c, r := s.dial()
	for _, piece := range []string{"GET / HT", "TP/1.1\r\nHo", "st: h\r", "\n\r", "\n"} {
		s.write(c, piece)
	}
	res, _ := s.read(r, "GET")
	equal(t, "code", res.StatusCode, 200)
}

// TestLargeBodies sends bodies both ways at once, to a reader that is slow at first.
func TestLargeBodies(t *testing.T) {
	const size = 32 << 20
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		n, _ := io.CopyN(io.Discard, r, size)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		_, _ = io.CopyN(c, zeros{}, n)
	})
	c, r := s.dial()
	s.write(c, fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
	if _, err := io.CopyN(c, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || n != size {
		t.Errorf("read %d bytes: %v", n, err)
	}
	o := s.outcome()
	equal(t, "bytes in", o.In, int64(size))
	equal(t, "bytes out", o.Out, int64(size))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestSlowReaderBoundsMemory stops reading and sees that the backend is stopped too.
func TestSlowReaderBoundsMemory(t *testing.T) {
	stopped := make(chan int64, 1)
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		sent := int64(0)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n, err := c.Write(make([]byte, 64<<10))
			if sent += int64(n); err != nil {
				stopped <- sent
				return
			}
		}
	})
	c, _ := s.dial()
	s.write(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	// What the kernel holds for both connections, and one read here.
	if sent := <-stopped; sent > 32<<20 {
		t.Errorf("the backend sent %d bytes to a client that reads nothing", sent)
	}
	_ = c.Close()
	s.outcome()
}

func TestEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	s := start(t, nil, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		}
	})
	c, r := s.dial()
	s.write(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
	go func() { _, _ = io.Copy(c, zeros{}) }()
	res, body := s.read(r, "POST")
	equal(t, "code", res.StatusCode, 413)
	equal(t, "body", body, "no")
	equal(t, "connection", res.Close, true)
}
