package traffic

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// strictBackend reads requests by the letter of RFC 9112 and remembers those that came whole, and whatever it does not
// understand.
type strictBackend struct {
	address string

	mu       sync.Mutex
	requests []string
	bad      []string
}

func newStrictBackend(t testing.TB) *strictBackend {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &strictBackend{address: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *strictBackend) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		request, err := readStrictly(in)
		if errors.Is(err, io.EOF) {
			return
		}
		b.mu.Lock()
		switch {
		case err == nil:
			b.requests = append(b.requests, request)
		case !errors.Is(err, io.ErrUnexpectedEOF): // a client that left takes the end of its request along
			b.bad = append(b.bad, fmt.Sprintf("%v in %q", err, request))
		}
		b.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// take returns what came since the last call.
func (b *strictBackend) take() (requests, bad []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests, bad = b.requests, b.bad
	b.requests, b.bad = nil, nil
	return requests, bad
}

// readStrictly reads one request. It accepts one way to write each thing: no bare LF, no folded line, no space before a
// colon, one Host, one length, a length or chunks.
func readStrictly(in *bufio.Reader) (string, error) {
	var raw bytes.Buffer
	line := func() (string, error) {
		s, err := in.ReadString('\n')
		raw.WriteString(s)
		if err != nil {
			if s != "" {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		s, ok := strings.CutSuffix(s, "\r\n")
		if !ok || strings.ContainsAny(s, "\r\n\x00") {
			return "", errors.New("a bare CR, LF or NUL")
		}
		return s, nil
	}
	start, err := line()
	if err != nil {
		return raw.String(), err
	}
	if parts := strings.Split(start, " "); len(parts) != 3 || parts[2] != "HTTP/1.1" {
		return raw.String(), errors.New("not a request line")
	}
	length, chunks, hosts := int64(0), false, 0
	lengths := 0
	for {
		field, err := line()
		if err != nil {
			return raw.String(), cmpEOF(err)
		}
		if field == "" {
			break
		}
		name, value, ok := strings.Cut(field, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return raw.String(), fmt.Errorf("field %q", field)
		}
		switch value = textproto.TrimString(value); strings.ToLower(name) {
		case "host":
			hosts++
		case "content-length":
			lengths++
			if length, err = strconv.ParseInt(value, 10, 64); err != nil || length < 0 || strings.HasPrefix(value, "+") {
				return raw.String(), fmt.Errorf("length %q", value)
			}
		case "transfer-encoding":
			if chunks || value != "chunked" {
				return raw.String(), fmt.Errorf("coding %q", value)
			}
			chunks = true
		}
	}
	if hosts != 1 || lengths > 1 || lengths == 1 && chunks {
		return raw.String(), fmt.Errorf("%d hosts, %d lengths, chunks %v", hosts, lengths, chunks)
	}
	if !chunks {
		_, err := io.CopyN(&raw, in, length)
		return raw.String(), cmpEOF(err)
	}
	for {
		size, err := line()
		if err != nil {
			return raw.String(), cmpEOF(err)
		}
		n, err := strconv.ParseUint(size, 16, 32)
		if err != nil {
			return raw.String(), fmt.Errorf("chunk size %q", size)
		}
		if _, err := io.CopyN(&raw, in, int64(n)); err != nil {
			return raw.String(), cmpEOF(err)
		}
		if end, err := line(); err != nil || end != "" {
			return raw.String(), cmpEOF(cmpErr(err, fmt.Errorf("a chunk ends with %q", end)))
		}
		if n == 0 {
			return raw.String(), nil
		}
	}
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func cmpEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// exchangeBytes sends bytes and returns all that the gateway answers until it closes, or until the last of the requests
// that were sent is answered.
func exchangeBytes(t testing.TB, address string, request []byte, wait time.Duration) []byte {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(request); err != nil {
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	all, _ := io.ReadAll(c)
	return all
}

// smuggled are messages that two parsers may understand differently. end is a request after them, which must not be
// mistaken for a part of them, nor a part of them for it.
var smuggled = []struct{ name, request string }{
	{"two different lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"},
	{"the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
	{"lengths in a list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd"},
	{"length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"},
	{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
	{"length in hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"},
	{"length beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc"},
	{"length beside chunks", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"},
	{"chunks beside length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"},
	{"coding twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"coding that is not the last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
	{"unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding with a tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding with a vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding with an underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"coding of HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"length with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc"},
	{"folded line", "POST / HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\nContent-Length: 3\r\n\r\nabc"},
	{"folded length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 3\r\n\r\nabc"},
	{"folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"first line folded", "POST / HTTP/1.1\r\n Host: b\r\nHost: a\r\n\r\n"},
	{"lines that end in LF", "POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc"},
	{"one line that ends in LF", "POST / HTTP/1.1\r\nHost: a\nX: y\r\nContent-Length: 3\r\n\r\nabc"},
	{"lines that end in CR", "POST / HTTP/1.1\r\nHost: a\rX: y\r\nContent-Length: 3\r\n\r\nabc"},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"},
	{"NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n"},
	{"NUL in the path", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"line feed in the path, encoded", "GET /%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{"host beside an absolute target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"no host", "GET / HTTP/1.1\r\n\r\n"},
	{"host with a path", "GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n"},
	{"chunk size with spaces", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"},
	{"chunk size with a sign", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"},
	{"chunk size with 0x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"},
	{"chunk size beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"},
	{"chunk with an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n"},
	{"chunk with a long extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("x", 9000) + "\r\nabc\r\n0\r\n\r\n"},
	{"chunk size that ends in LF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"},
	{"extension with a line feed", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n"},
	{"chunk longer than it says", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"},
	{"trailer with a length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 9\r\n\r\n"},
	{"length of a GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"},
	{"upgrade with a body", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"},
	{"line without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"},
	{"a field dropped by Connection", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host, X-Forwarded-For, close\r\n\r\n"},
	{"old protocol", "GET /\r\n\r\n"},
	{"next protocol", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
	{"empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
}

const endRequest = "GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// What reaches a backend is well-formed, and no more than the client was answered for.
func TestNothingAmbiguousReachesABackend(t *testing.T) {
	b := newStrictBackend(t)
	for path, route := range map[string]string{"raw": toWeb, "net/http": throughNetHTTP} {
		p := startPlane(t, web(b.address), base, httpRoute("r", route))
		for _, c := range smuggled {
			t.Run(path+" "+c.name, func(t *testing.T) {
				answers := exchangeBytes(t, p.address, []byte(c.request+endRequest), time.Minute)
				checkBoundary(t, b, answers)
			})
		}
	}
}

func checkBoundary(t testing.TB, b *strictBackend, answers []byte) {
	t.Helper()
	requests, bad := b.take()
	for _, what := range bad {
		t.Errorf("the backend got %s", what)
	}
	if n := bytes.Count(answers, []byte("HTTP/1.")); n < len(requests) && len(answers) > 0 {
		t.Errorf("the backend got %d requests, the client %d answers: %q, %q", len(requests), n, requests, answers)
	}
	for i, r := range requests {
		if strings.HasPrefix(r, "GET /end ") && i != len(requests)-1 {
			t.Errorf("something came after the last request: %q", requests)
		}
	}
}

// FuzzBoundary sends bytes to the gateway as they are.
func FuzzBoundary(f *testing.F) {
	for _, c := range smuggled {
		f.Add([]byte(c.request))
	}
	b := newStrictBackend(f)
	planes := []*plane{
		startPlane(f, web(b.address), base, httpRoute("r", toWeb)),
		startPlane(f, web(b.address), base, httpRoute("r", throughNetHTTP)),
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) > 16<<10 || bytes.HasPrefix(request, []byte("PRI * HTTP/2.0")) {
			t.Skip()
		}
		for _, p := range planes {
			answers := exchangeBytes(t, p.address, slices.Concat(request, []byte(endRequest)), 100*time.Millisecond)
			checkBoundary(t, b, answers)
		}
	})
}
