package traffic

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ambiguous are requests that proxies and backends have read differently, and plain ones around them. What reaches a
// backend must be what HAProxy would send, or less.
var ambiguous = map[string]string{
	"plain":                         "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"body":                          "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
	"pipelined":                     "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
	"pipelined bodies":              "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\naPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nb",
	"chunked":                       "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"chunked with a trailer":        "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
	"chunk extension":               "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
	"CL.TE":                         "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
	"TE.CL":                         "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2b\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\nA: 12345678\r\n\r\n0\r\n\r\n",
	"TE.TE twice":                   "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"TE.TE in disguise":             "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc",
	"TE with a space before":        "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
	"TE after a tab":                "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"TE in capitals":                "POST /1 HTTP/1.1\r\nHost: h\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
	"TE with a vertical tab":        "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	"TE quoted":                     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
	"TE list":                       "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"TE not last":                   "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
	"TE folded":                     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	"TE behind a bare line feed":    "POST /1 HTTP/1.1\r\nHost: h\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE behind a bare CR":           "POST /1 HTTP/1.1\r\nHost: h\r\nA: b\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
	"TE in HTTP/1.0":                "POST /1 HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"underscored TE":                "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
	"two lengths":                   "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
	"two equal lengths":             "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
	"list of lengths":               "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
	"signed length":                 "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
	"negative length":               "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc",
	"hexadecimal length":            "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc",
	"length with a letter":          "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3a\r\n\r\nabc",
	"length with an underscore":     "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1_0\r\n\r\n0123456789",
	"empty length":                  "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
	"huge length":                   "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
	"length with zeros":             "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0003\r\n\r\nabc",
	"length of a GET":               "GET /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
	"folded field":                  "GET /1 HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
	"folded first field":            "GET /1 HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n",
	"space before the colon":        "GET /1 HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n",
	"field without a colon":         "GET /1 HTTP/1.1\r\nHost: h\r\nA\r\n\r\n",
	"empty name":                    "GET /1 HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
	"NUL in a value":                "GET /1 HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n",
	"NUL in a name":                 "GET /1 HTTP/1.1\r\nHost: h\r\nA\x00: b\r\n\r\n",
	"NUL in the target":             "GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
	"bytes beyond ASCII":            "GET /1 HTTP/1.1\r\nHost: h\r\nA: \xff\xfe\r\n\r\n",
	"bytes beyond ASCII in a name":  "GET /1 HTTP/1.1\r\nHost: h\r\nA\xff: b\r\n\r\n",
	"bare line feeds":               "GET /1 HTTP/1.1\nHost: h\n\n",
	"bare line feed at the end":     "GET /1 HTTP/1.1\r\nHost: h\r\n\n",
	"bare CR in a value":            "GET /1 HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
	"two CRs":                       "GET /1 HTTP/1.1\r\nHost: h\r\r\n\r\n",
	"empty lines before":            "\r\n\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"chunk size with a bare LF":     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
	"chunk data with a bare LF":     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
	"chunk extension with a LF":     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;\nabc\r\n0\r\n\r\n",
	"chunk extension with a CR":     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
	"chunk size with a sign":        "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
	"chunk size with 0x":            "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
	"chunk size with a space":       "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
	"chunk size that overflows":     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
	"chunk longer than its size":    "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
	"no size":                       "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
	"trailer that frames":           "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
	"absolute form":                 "GET http://h/1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"absolute form, other host":     "GET http://other/1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"asterisk form":                 "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	"authority form":                "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
	"CONNECT":                       "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
	"lower case method":             "get /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"odd method":                    "M-SEARCH /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"method with a control":         "GE\x01T /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"two spaces":                    "GET  /1 HTTP/1.1\r\nHost: h\r\n\r\n",
	"space behind the version":      "GET /1 HTTP/1.1 \r\nHost: h\r\n\r\n",
	"space in the target":           "GET /1 2 HTTP/1.1\r\nHost: h\r\n\r\n",
	"tab for a space":               "GET\t/1\tHTTP/1.1\r\nHost: h\r\n\r\n",
	"version 1.2":                   "GET /1 HTTP/1.2\r\nHost: h\r\n\r\n",
	"version 2.0":                   "GET /1 HTTP/2.0\r\nHost: h\r\n\r\n",
	"version 0.9":                   "GET /1\r\n",
	"lower case version":            "GET /1 http/1.1\r\nHost: h\r\n\r\n",
	"no host":                       "GET /1 HTTP/1.1\r\nA: b\r\n\r\n",
	"two hosts":                     "GET /1 HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n",
	"two equal hosts":               "GET /1 HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
	"host with a path":              "GET /1 HTTP/1.1\r\nHost: h/x\r\n\r\n",
	"host with a user":              "GET /1 HTTP/1.1\r\nHost: u@h\r\n\r\n",
	"empty host":                    "GET /1 HTTP/1.1\r\nHost:\r\n\r\n",
	"fragment":                      "GET /1#f HTTP/1.1\r\nHost: h\r\n\r\n",
	"expectation":                   "POST /1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	"unknown expectation":           "POST /1 HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc",
	"upgrade with a body":           "POST /1 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
	"upgrade to h2c":                "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
	"connection names the length":   "POST /1 HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc",
	"connection names the encoding": "POST /1 HTTP/1.1\r\nHost: h\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.0 kept alive":           "GET /1 HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
	"long header":                   "GET /1 HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 12<<10) + "\r\n\r\n",
	"huge header":                   "GET /1 HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 80<<10) + "\r\n\r\n",
	"many fields":                   "GET /1 HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", 90) + "\r\n",
}

// same are the requests that both must forward alike; for the rest, ours may forward less.
var same = []string{"plain", "body", "pipelined", "pipelined bodies", "chunked", "chunk extension", "length of a GET", "expectation", "absolute form", "long header", "many fields", "bytes beyond ASCII"}

// sentinel ends every try: it is answered, swallowed as part of a body, or never read.
const sentinel = "GET /sentinel HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

// FuzzAgainstHAProxy compares what reaches a backend with what HAProxy sends: the same requests with the same bodies, or
// fewer of them.
func FuzzAgainstHAProxy(f *testing.F) {
	theirs, ours := newRawBackend(f, recorded), newRawBackend(f, recorded)
	haproxy := startHAProxy(f, theirs.address)
	p := startPlane(f, web(ours.address), base, httpRoute("r", toWeb))
	var raws []string
	for _, raw := range ambiguous {
		raws = append(raws, raw)
	}
	slices.Sort(raws)
	for _, raw := range raws {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var complaint string
		for range 3 { // a request may reach a backend just after its connection ended
			theirs.take()
			ours.take()
			sendAll(haproxy, string(raw)+sentinel)
			sendAll(p.address, string(raw)+sentinel)
			if complaint = compare(string(raw), requestsIn(theirs.take()), requestsIn(ours.take())); complaint == "" {
				return
			}
		}
		t.Errorf("%q: %s", raw, complaint)
	})
}

const recorded = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// laxer are requests that the gateway forwards and HAProxy does not, and why that is right.
var laxer = map[string]string{
	"absolute form, other host": "the backend gets the target's host as Host: RFC 9112 section 3.2.2 says that it wins",
}

func compare(raw string, theirs, ours []string) string {
	for name := range laxer {
		if ambiguous[name] == raw {
			return ""
		}
	}
	if !subsequence(ours, theirs) {
		return fmt.Sprintf("the gateway sent %q, HAProxy %q", ours, theirs)
	}
	for _, name := range same {
		if ambiguous[name] == raw && !slices.Equal(withoutSentinel(ours), withoutSentinel(theirs)) {
			return fmt.Sprintf("the gateway sent only %q, HAProxy %q", ours, theirs)
		}
	}
	return ""
}

// withoutSentinel leaves out what came behind the request: the gateway may have closed the connection.
func withoutSentinel(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(r string) bool { return r == "GET /sentinel " })
}

// subsequence says that all of few are in many, in this order: a request that was refused does not change how the next
// is read.
func subsequence(few, many []string) bool {
	for _, m := range many {
		if len(few) > 0 && few[0] == m {
			few = few[1:]
		}
	}
	return len(few) == 0
}

// requestsIn is method, path and body of each request. The absolute form is as good as the path.
func requestsIn(seen []string) []string {
	var all []string
	for _, text := range seen {
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		line, _, _ := strings.Cut(head, "\r\n")
		method, rest, _ := strings.Cut(line, " ")
		target, _, _ := strings.Cut(rest, " ")
		if _, after, ok := strings.Cut(target, "://"); ok {
			if slash := strings.IndexByte(after, '/'); slash >= 0 {
				target = after[slash:]
			}
		}
		all = append(all, method+" "+target+" "+body)
	}
	return all
}

// sendAll sends bytes and reads until the other side closes, or is silent for a while: then it waits for more.
func sendAll(address, text string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(c, text); err == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// startHAProxy runs Debian's HAProxy in front of a backend and returns its address; without it the test is skipped.
func startHAProxy(t testing.TB, backend string) string {
	t.Helper()
	program := "/usr/sbin/haproxy"
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("haproxy"); err != nil {
			t.Skip("haproxy is not installed")
		}
	}
	l := loopback(t)
	address := l.Addr().String()
	_ = l.Close()
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf("global\n  maxconn 200\n  nbthread 1\ndefaults\n  mode http\n  timeout client 1s\n  timeout server 1s\n  timeout connect 1s\n  timeout http-request 1s\n"+
		"frontend f\n  bind %s\n  default_backend b\nbackend b\n  server s %s\n", address, backend)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return address
}
