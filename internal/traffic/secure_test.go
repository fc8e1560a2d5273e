package traffic

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority signs the certificates of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue makes a certificate and key in PEM; a name with "://" is a URI.
func (a *authority) issue(names ...string) (cert, key []byte) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			template.URIs = append(template.URIs, u)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

func (a *authority) pair(names ...string) tls.Certificate {
	a.t.Helper()
	cert, key := a.issue(names...)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// secret is the document of a Secret with a new certificate.
func (a *authority) secret(name string, names ...string) string {
	cert, key := a.issue(names...)
	return fmt.Sprintf("kind: Secret\nmetadata: {name: %s, namespace: infra}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
		name, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
}

func (a *authority) configMap(namespace, name string) string {
	return fmt.Sprintf("kind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {ca.crt: %q}\n", name, namespace, a.pem)
}

// loopbackNetwork gives Gateways addresses of the loopback interface, which all are there already.
type loopbackNetwork struct{ block netip.Prefix }

func (n loopbackNetwork) Block() netip.Prefix          { return n.block }
func (loopbackNetwork) AddAddress(netip.Addr) error    { return nil }
func (loopbackNetwork) RemoveAddress(netip.Addr) error { return nil }

// secured is a gateway whose listeners have sockets of their own, on a loopback address of the test's.
type secured struct {
	*plane
	facts   NetworkFacts
	address string
	closed  map[SocketKey]string
	status  Statuses
}

// startSecured serves the objects given. Each test has a block of its own, so that tests may run side by side.
func startSecured(t testing.TB, block string, endpoints map[string][]string, documents ...string) *secured {
	t.Helper()
	s := &secured{plane: newPlane(t), facts: NetworkFacts{Block: netip.MustParsePrefix(block)}}
	s.gateway.sockets.network = loopbackNetwork{s.facts.Block}
	for key, ready := range endpoints {
		s.addresses[key] = addresses{ready: sortedUnique(ready)}
	}
	s.apply(documents...)
	return s
}

// apply does what the reconciler does.
func (s *secured) apply(documents ...string) {
	s.t.Helper()
	f := facts(s.t, documents...)
	f.Network = s.facts
	table, statuses := compile(f)
	s.closed = s.gateway.sockets.prepare(table)
	if err := s.gateway.install(table, s.find); err != nil {
		s.t.Fatal(err)
	}
	s.gateway.sockets.serve()
	s.gateway.sockets.prune(table)
	s.facts.Given, s.status = statuses.Given, statuses
	for _, a := range statuses.Given {
		s.address = a.String()
	}
}

// get asks for a path over TLS and returns the answer's code and body; sni and host may differ.
func (s *secured) get(port int, sni, host string, config *tls.Config) (int, string, error) {
	config = config.Clone()
	config.ServerName = sni
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	r, err := http.NewRequest("GET", fmt.Sprintf("https://%s/", net.JoinHostPort(s.address, fmt.Sprint(port))), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = host
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

const tlsClass = "kind: GatewayClass\nmetadata: {name: escale}\nspec: {controllerName: escale.dev/gateway}\n"

// tlsGateway has the listeners given, each in YAML's flow style.
func tlsGateway(more string, listeners ...string) string {
	return "kind: Gateway\nmetadata: {name: edge, namespace: infra}\nspec:\n  gatewayClassName: escale\n" + more +
		"  listeners:\n  - {" + strings.Join(listeners, ", allowedRoutes: {namespaces: {from: All}}}\n  - {") + ", allowedRoutes: {namespaces: {from: All}}}\n"
}

const service = "kind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n"

const toWebEverywhere = "  rules: [{backendRefs: [{name: web, port: 80}]}]\n"

func names(t testing.TB, say string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s proto=%s", say, r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestTLSIsTerminatedByServerName(t *testing.T) {
	ca := newAuthority(t)
	documents := []string{
		tlsClass, service, ca.secret("any", "any.test"), ca.secret("shop", "shop.test"), ca.secret("old", "other.test"),
		tlsGateway("",
			"name: any, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: any}, {name: old}]}",
			"name: shop, port: 443, protocol: HTTPS, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}"),
		httpRoute("r", "  hostnames: [any.test, other.test, shop.test]\n"+toWebEverywhere),
	}
	s := startSecured(t, "127.80.0.0/24", map[string][]string{"shop/web:80": {names(t, "web")}}, documents...)
	trust := &tls.Config{RootCAs: ca.pool()}
	for _, c := range []struct {
		name, sni, host string
		want            int
	}{
		{"the listener's own name", "shop.test", "shop.test", 200},
		{"the first certificate of several", "any.test", "any.test", 200},
		{"the second certificate of several", "other.test", "other.test", 200},
		{"the name of another listener", "any.test", "shop.test", 421},
		{"from the more specific listener to the general", "shop.test", "any.test", 421},
		{"a name that no route has", "any.test", "none.test", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body, err := s.get(443, c.sni, c.host, trust)
			if err != nil || code != c.want || code == 200 && body != "web proto=https" {
				t.Errorf("got %d %q, %v; want %d", code, body, err, c.want)
			}
		})
	}
	t.Run("a new certificate without a restart", func(t *testing.T) {
		other := newAuthority(t)
		documents[3] = other.secret("shop", "shop.test")
		s.apply(documents...)
		if _, _, err := s.get(443, "shop.test", "shop.test", trust); err == nil {
			t.Error("the old certificate is still shown")
		}
		if code, _, err := s.get(443, "shop.test", "shop.test", &tls.Config{RootCAs: other.pool()}); err != nil || code != 200 {
			t.Errorf("got %d, %v", code, err)
		}
	})
	t.Run("a port is closed with its listener", func(t *testing.T) {
		s.apply(tlsClass, service, tlsGateway("", "name: http, port: 8080, protocol: HTTP"))
		_, _, err := s.get(443, "shop.test", "shop.test", trust)
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v, want a refused connection", err)
		}
	})
}

func TestUnknownServerNameGetsNoAnswer(t *testing.T) {
	ca := newAuthority(t)
	s := startSecured(t, "127.80.1.0/24", nil, tlsClass, ca.secret("shop", "shop.test"),
		tlsGateway("", "name: shop, port: 443, protocol: HTTPS, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}"))
	_, _, err := s.get(443, "other.test", "other.test", &tls.Config{RootCAs: ca.pool()})
	if !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want a connection that ends", err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	listener := "name: shop, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}"
	ask := func(mode string) string {
		return tlsGateway("  tls: {frontend: {default: {validation: {mode: "+mode+", caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]}}}}\n", listener)
	}
	documents := func(gateway string) []string {
		return []string{tlsClass, service, ca.secret("shop", "shop.test"), clients.configMap("infra", "clients"), gateway, httpRoute("r", toWebEverywhere)}
	}
	s := startSecured(t, "127.80.2.0/24", map[string][]string{"shop/web:80": {names(t, "web")}}, documents(ask("AllowValidOnly"))...)
	client := func(certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		}}
	}
	known, stranger := client(clients.pair("me.test")), client(strangers.pair("me.test"))
	for _, c := range []struct {
		name   string
		config *tls.Config
		good   bool
	}{{"a known authority", known, true}, {"another authority", stranger, false}, {"no certificate", client(), false}} {
		t.Run(c.name, func(t *testing.T) {
			code, _, err := s.get(443, "shop.test", "shop.test", c.config)
			if good := err == nil && code == 200; good != c.good {
				t.Errorf("got %d, %v", code, err)
			}
		})
	}
	t.Run("insecure fallback", func(t *testing.T) {
		s.apply(documents(ask("AllowInsecureFallback"))...)
		for _, config := range []*tls.Config{known, stranger, client()} {
			if code, _, err := s.get(443, "shop.test", "shop.test", config); err != nil || code != 200 {
				t.Errorf("got %d, %v", code, err)
			}
		}
	})
	t.Run("a connection from before is asked again", func(t *testing.T) {
		s.apply(documents(tlsGateway("", listener))...)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "shop.test"}}
		defer transport.CloseIdleConnections()
		get := func() int {
			r, _ := http.NewRequest("GET", "https://"+s.address+"/", nil)
			r.Host = "shop.test"
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return res.StatusCode
		}
		if code := get(); code != 200 {
			t.Fatalf("got %d before certificates are asked for", code)
		}
		s.apply(documents(ask("AllowValidOnly"))...)
		if code := get(); code != 421 {
			t.Errorf("got %d on the old connection, want 421", code)
		}
	})
}

// streamEcho answers one line with the line, after TLS if it has a certificate.
func streamEcho(t testing.TB, say string, certificate *tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if certificate != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*certificate}})
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprintf(c, "%s %s", say, line)
			}()
		}
	}()
	return l.Addr().String()
}

func TestStreams(t *testing.T) {
	ca, inner := newAuthority(t), newAuthority(t)
	own := inner.pair("through.test")
	s := startSecured(t, "127.80.3.0/24", map[string][]string{
		"shop/inside:443": {streamEcho(t, "inside", &own)}, "shop/plain:443": {streamEcho(t, "plain", nil)},
	},
		tlsClass, ca.secret("ends", "ends.test"),
		"kind: Service\nmetadata: {name: inside, namespace: shop}\nspec: {ports: [{name: tls, port: 443}]}",
		"kind: Service\nmetadata: {name: plain, namespace: shop}\nspec: {ports: [{name: tcp, port: 443}]}",
		tlsGateway("",
			"name: through, port: 8443, protocol: TLS, hostname: through.test, tls: {mode: Passthrough}",
			"name: ends, port: 8443, protocol: TLS, hostname: ends.test, tls: {mode: Terminate, certificateRefs: [{name: ends}]}"),
		tlsRoute("through", "through.test", "inside"), tlsRoute("ends", "ends.test", "plain"))
	for _, c := range []struct {
		name, sni string
		trust     *authority
		want      string
	}{
		{"passed through", "through.test", inner, "inside ahoy\n"},
		{"terminated", "ends.test", ca, "plain ahoy\n"},
		{"unknown name", "none.test", ca, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", s.address+":8443", &tls.Config{RootCAs: c.trust.pool(), ServerName: c.sni})
			if c.want == "" {
				if !errors.Is(err, io.EOF) && (err == nil || !strings.Contains(err.Error(), "reset")) {
					t.Errorf("got %v, want a connection that ends", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintln(conn, "ahoy")
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// A stream is counted as a request is, and ends when nothing passes for long.
func TestStreamsAreCountedAndEnd(t *testing.T) {
	ca := newAuthority(t)
	s := startSecured(t, "127.80.9.0/24", map[string][]string{"shop/plain:443": {streamEcho(t, "plain", nil)}, "shop/gone:443": {"127.0.0.1:1"}},
		tlsClass, ca.secret("ends", "*.test"),
		"kind: Service\nmetadata: {name: plain, namespace: shop}\nspec: {ports: [{name: tcp, port: 443}]}",
		"kind: Service\nmetadata: {name: gone, namespace: shop}\nspec: {ports: [{name: tcp, port: 443}]}",
		tlsGateway("", "name: ends, port: 8443, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: ends}]}"),
		tlsRoute("plain", "plain.test", "plain"), tlsRoute("gone", "gone.test", "gone"))
	s.gateway.shared.streamIdle = 20 * time.Millisecond
	for _, name := range []string{"plain.test", "gone.test"} {
		conn, err := tls.Dial("tcp", s.address+":8443", &tls.Config{RootCAs: ca.pool(), ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); len(b) > 0 { // nothing is sent, so nothing comes
			t.Errorf("got %q, %v from a stream without a byte", b, err)
		}
		_ = conn.Close()
	}
	count := func(backend string, class int) uint64 {
		for _, one := range s.gateway.live.Load().table.series.list() {
			if one.key.Backend == backend {
				return one.use().classes[class].Load()
			}
		}
		return 0
	}
	until(func() bool { return count("shop/plain:443", 2) == 1 && count("shop/gone:443", 5) == 1 })
	for _, b := range s.gateway.backendList() {
		until(func() bool { return b.counts.inFlight.Load() == 0 && b.counts.conversations.Load() == 0 })
	}
}

func tlsRoute(name, host, service string) string {
	return "kind: TLSRoute\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  parentRefs: [{name: edge, namespace: infra}]\n" +
		"  hostnames: [" + host + "]\n  rules: [{backendRefs: [{name: " + service + ", port: 443}]}]\n"
}

func TestBackendTLS(t *testing.T) {
	ca, clients := newAuthority(t), newAuthority(t)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "sni=%s clients=%d", r.TLS.ServerName, len(r.TLS.PeerCertificates))
	}))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair("web.test", "spiffe://shop/web")}, ClientAuth: tls.RequestClientCert}
	backend.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	backend.StartTLS()
	t.Cleanup(backend.Close)
	policy := func(validation string) string {
		return "kind: BackendTLSPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  targetRefs: [{group: '', kind: Service, name: web}]\n  validation: {" + validation + "}\n"
	}
	refs := "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"
	show := "  tls: {backend: {clientCertificateRef: {name: client}}}\n"
	http80 := "name: http, port: 8080, protocol: HTTP"
	s := startSecured(t, "127.80.4.0/24", map[string][]string{"shop/web:80": {backend.Listener.Addr().String()}})
	for _, c := range []struct {
		name, gateway, policy string
		code                  int
		want                  string
	}{
		{"the name in the certificate", tlsGateway("", http80), policy("hostname: web.test, " + refs), 200, "sni=web.test clients=0"},
		{"another name", tlsGateway("", http80), policy("hostname: other.test, " + refs), 502, "certificate"},
		{"another authority", tlsGateway("", http80), policy("hostname: web.test, wellKnownCACertificates: System"), 502, "certificate"},
		{
			"an alternative name", tlsGateway("", http80),
			policy("hostname: other.test, subjectAltNames: [{type: URI, uri: 'spiffe://shop/web'}], " + refs), 200, "sni=other.test clients=0",
		},
		{
			"no alternative name", tlsGateway("", http80),
			policy("hostname: web.test, subjectAltNames: [{type: URI, uri: 'spiffe://shop/db'}], " + refs), 502, "subjectAltNames",
		},
		{"a policy that is not valid", tlsGateway("", http80), policy("hostname: web.test, caCertificateRefs: [{group: '', kind: ConfigMap, name: none}]"), 500, "not valid"},
		{"the Gateway's certificate", tlsGateway(show, http80), policy("hostname: web.test, " + refs), 200, "sni=web.test clients=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.apply(tlsClass, service, ca.configMap("shop", "ca"), clients.secret("client", "gateway.test"), c.gateway, c.policy, httpRoute("r", toWebEverywhere))
			res, err := http.Get("http://" + s.address + ":8080/")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.code || !strings.Contains(string(body), c.want) {
				t.Errorf("got %d %q, want %d with %q", res.StatusCode, body, c.code, c.want)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.80.5.16:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := startSecured(t, "127.80.5.0/24", nil, tlsClass, tlsGateway("", "name: http, port: 8080, protocol: HTTP", "name: alt, port: 8081, protocol: HTTP"))
	if len(s.closed) != 1 {
		t.Fatalf("closed: %v, want one", s.closed)
	}
	s.facts.Closed = s.closed
	s.apply(tlsClass, tlsGateway("", "name: http, port: 8080, protocol: HTTP", "name: alt, port: 8081, protocol: HTTP"))
	for _, g := range s.status.Gateways {
		if got := shorts(g.Listeners[0].Conditions); !strings.Contains(got, "Programmed=False/PortUnavailable") {
			t.Errorf("listener: %s", got)
		}
		if got := shorts(g.Listeners[1].Conditions); !strings.Contains(got, "Programmed=True") {
			t.Errorf("listener beside it: %s", got)
		}
	}
	_ = taken.Close()
	s.facts.Closed = nil
	if s.apply(tlsClass, tlsGateway("", "name: http, port: 8080, protocol: HTTP")); len(s.closed) != 0 {
		t.Errorf("still closed: %v", s.closed)
	}
}

// Two Gateways on one port do not meet.
func TestGatewaysHaveAddresses(t *testing.T) {
	second := strings.Replace(tlsGateway("", "name: http, port: 8080, protocol: HTTP"), "name: edge", "name: inner", 1)
	s := startSecured(t, "127.80.6.0/24", map[string][]string{"shop/web:80": {names(t, "web")}},
		tlsClass, service, tlsGateway("", "name: http, port: 8080, protocol: HTTP"), second, httpRoute("r", toWebEverywhere))
	codes := map[string]int{}
	for name, address := range s.facts.Given {
		res, err := http.Get("http://" + address.String() + ":8080/")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		codes[name.Name] = res.StatusCode
	}
	if codes["edge"] != 200 || codes["inner"] != 404 {
		t.Errorf("got %v, want the route on one Gateway alone", codes)
	}
}

func FuzzPeekServerName(f *testing.F) {
	client, server := net.Pipe()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "shop.test"}).HandshakeContext(context.Background())
	}()
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	buffer := make([]byte, 4096)
	n, err := server.Read(buffer)
	if err != nil {
		f.Fatal(err)
	}
	_ = server.Close()
	_ = client.Close()
	f.Add(buffer[:n])
	f.Add(buffer[:n/2])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		name, read, err := peekServerName(&peekConn{from: bytes.NewReader(sent)})
		if err == nil && !strings.HasPrefix(string(sent), string(read)) {
			t.Errorf("name %q: what was read is not what was sent", name)
		}
	})
}
