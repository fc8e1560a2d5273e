package fastpath

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

var requestSeeds = []string{
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST /a?b=c HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\n\r\nabc",
	"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nCookie: a=b\r\nX: \t y \t\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
	"GET / HTTP/1.1\nHost: h\n\n",
	"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /../a HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
	"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

// FuzzRequest: what is taken, net/http reads the same way, as it came and as it is sent on; and nothing is decided
// before the head is complete.
func FuzzRequest(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if r.parse(b) != complete {
			return
		}
		sameAsNetHTTP(t, &r, b)
		sent := appendRequest(nil, &r, &Exchange{}, "1.2.3.4")
		sent = append(sent, make([]byte, min(r.length, 10))...)
		length, host, method := r.length, string(r.Host), string(r.Method)
		if r.parse(sent) != complete {
			t.Fatalf("what is sent on is not understood: %q", sent)
		}
		if r.length != length || string(r.Host) != host || string(r.Method) != method {
			t.Errorf("sent on changed: %q", sent)
		}
		sameAsNetHTTP(t, &r, sent)
		for i := range r.head {
			var part Request
			if v := part.parse(sent[:i]); v != incomplete {
				t.Fatalf("verdict %d on the part %q", v, sent[:i])
			}
		}
	})
}

func sameAsNetHTTP(t *testing.T, r *Request, b []byte) {
	t.Helper()
	in := bytes.NewReader(b)
	buffered := bufio.NewReaderSize(in, len(b)+16)
	theirs, err := http.ReadRequest(buffered)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", b, err)
	}
	if len(theirs.TransferEncoding) > 0 || theirs.ContentLength != r.length || theirs.Host != string(r.Host) ||
		theirs.Method != string(r.Method) || theirs.RequestURI != string(r.target) || theirs.URL.Path != string(r.Path) {
		t.Errorf("net/http reads %q as %+v", b, theirs)
	}
	if head := len(b) - in.Len() - buffered.Buffered(); head != r.head {
		t.Errorf("net/http sees a head of %d bytes, not %d, in %q", head, r.head, b)
	}
}

// FuzzResponse: what is taken, net/http reads with the same framing.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive, x\r\nX: 1\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, toHead bool) {
		var r response
		if r.parse(b, toHead) != complete || r.code < 200 {
			return
		}
		method := "GET"
		if toHead {
			method = "HEAD"
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		want := map[bodyKind]int64{noBody: 0, sizedBody: r.length, chunked: -1, untilClose: -1}[r.body]
		if theirs.StatusCode != r.code || !toHead && r.code != 304 && theirs.ContentLength != want {
			t.Errorf("net/http reads %q as %+v, here the body is %d of %d", b, theirs, r.body, r.length)
		}
		if r.reusable && theirs.Close {
			t.Errorf("net/http would close the connection after %q", b)
		}
	})
}

// FuzzChunks: what is taken decodes to the same bytes as with net/http, cut anywhere, and so does what is sent.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n00\r\nTrailer: x\r\n\r\n", "1\r\na\n0\r\n\r\n", "g\r\n", "1\r\nab\r\n0\r\n\r\n",
		"ffffffffffffffff\r\n", "0\r\nContent-Length: 1\r\n\r\n", "2\nab\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var c chunkReader
		out, used, ok := c.read(b, nil)
		if !ok || c.state != chunkEnd {
			return
		}
		var pieces chunkReader
		var again []byte
		for i := 0; i < used; i += int(cut) + 1 {
			if again, _, ok = pieces.read(b[i:min(used, i+int(cut)+1)], again); !ok {
				t.Fatalf("refused in pieces: %q", b)
			}
		}
		if pieces.state != chunkEnd || !bytes.Equal(out, again) {
			t.Fatalf("whole %q, in pieces %q", out, again)
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(out)))
		if err != nil || !bytes.Equal(got, want) || c.data != int64(len(want)) {
			t.Errorf("%q is sent as %q: %v", b, out, err)
		}
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	const rest = " HTTP/1.1\r\nHost: h\r\n"
	for name, text := range map[string]string{
		"bare line feed":          "GET / HTTP/1.1\nHost: h\r\n\r\n",
		"bare line feed in field": "GET /" + rest + "A: b\nC: d\r\n\r\n",
		"bare CR in a value":      "GET /" + rest + "A: b\rC: d\r\n\r\n",
		"NUL in a value":          "GET /" + rest + "A: \x00\r\n\r\n",
		"space before the colon":  "GET /" + rest + "A : b\r\n\r\n",
		"no colon":                "GET /" + rest + "A\r\n\r\n",
		"empty name":              "GET /" + rest + ": b\r\n\r\n",
		"folded line":             "GET /" + rest + "A: b\r\n c\r\n\r\n",
		"two spaces":              "GET  /" + rest + "\r\n",
		"tab":                     "GET\t/" + rest + "\r\n",
		"lower case method":       "get /" + rest + "\r\n",
		"two hosts":               "GET /" + rest + "Host: h\r\n\r\n",
		"no host":                 "GET / HTTP/1.1\r\nA: b\r\n\r\n",
		"host with a path":        "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
		"two lengths":             "GET /" + rest + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"a list of lengths":       "GET /" + rest + "Content-Length: 1, 1\r\n\r\n",
		"a signed length":         "GET /" + rest + "Content-Length: +1\r\n\r\n",
		"a hexadecimal length":    "GET /" + rest + "Content-Length: 0x1\r\n\r\n",
		"a huge length":           "GET /" + rest + "Content-Length: 9999999999999999999\r\n\r\n",
		"an empty length":         "GET /" + rest + "Content-Length:\r\n\r\n",
		"an encoding":             "GET /" + rest + "Transfer-Encoding: chunked\r\n\r\n",
		"an encoding in disguise": "GET /" + rest + "Transfer-Encoding: \tchunked\r\n\r\n",
		"a fragment":              "GET /a#b" + rest + "\r\n",
		"an escape":               "GET /a%2fb" + rest + "\r\n",
		"a dot segment":           "GET /a/../b" + rest + "\r\n",
		"a backslash":             "GET /a\\b" + rest + "\r\n",
		"bytes beyond ASCII":      "GET /\xff" + rest + "\r\n",
		"many fields":             "GET /" + rest + strings.Repeat("A: b\r\n", maxFields) + "\r\n",
	} {
		var r Request
		if v := r.parse([]byte(text)); v != refused {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte("GET /catalogue/items?page=2&sort=price HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n")
	var r Request
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if r.parse(text) != complete {
			b.Fatal("not understood")
		}
		out = appendRequest(out[:0], &r, &Exchange{}, "10.0.0.1")
	}
}
