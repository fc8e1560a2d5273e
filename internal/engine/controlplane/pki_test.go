package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

var hosts = []string{"127.0.0.1", "kubernetes.default.svc"}

func open(t *testing.T, dir string, now time.Time) *credentials {
	t.Helper()
	c, err := openCredentials(dir, "https://127.0.0.1:6443", hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKeysAreMadeOnceAndReadableByTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	now := time.Now()
	first := open(t, dir, now)
	before := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		before[f] = read(t, f)
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", filepath.Base(f), fi.Mode().Perm())
		}
	}
	open(t, dir, now.Add(24*time.Hour))
	for f, want := range before {
		if read(t, f) != want {
			t.Errorf("%s was made again at the second start", filepath.Base(f))
		}
	}
	if _, err := tls.LoadX509KeyPair(first.serving.cert, first.serving.key); err != nil {
		t.Errorf("the serving pair does not load: %v", err)
	}
}

// The clock of a laptop jumps: after a sleep, a dead battery, a bad time server.
func TestClockJumps(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, jump := range map[string]struct {
		by      time.Duration
		renewed bool
	}{
		"an hour back, as at the end of summer time": {-time.Hour, false},
		"a month back, to the right time":            {-30 * 24 * time.Hour, false},
		"to the time before the certificate began":   {-2 * 365 * 24 * time.Hour, true},
		"to near the end of the certificate":         {leafLife - renewBefore + time.Hour, true},
		"two years ahead":                            {2 * 365 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, dir, now)
			leafBefore, caBefore := read(t, c.serving.cert), read(t, c.ca.certFile())
			c = open(t, dir, now.Add(jump.by))
			if renewed := read(t, c.serving.cert) != leafBefore; renewed != jump.renewed {
				t.Errorf("serving certificate renewed: %v, want %v", renewed, jump.renewed)
			}
			if read(t, c.ca.certFile()) != caBefore {
				t.Error("the authority changed: every kubeconfig handed out would be worthless")
			}
			verify(t, c, now.Add(jump.by))
		})
	}
}

func verify(t *testing.T, c *credentials, at time.Time) {
	t.Helper()
	cert, _, err := readPair(c.serving)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.ca.cert)
	for _, h := range hosts {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: h, CurrentTime: at}); err != nil {
			t.Errorf("serving certificate is not good for %q at %v: %v", h, at, err)
		}
	}
}

func TestANewNameMakesANewServingCertificate(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	before := read(t, open(t, dir, now).serving.cert)
	c, err := openCredentials(dir, "https://127.0.0.1:6443", append([]string{"10.99.0.1"}, hosts...), now)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, c.serving.cert) == before {
		t.Error("the certificate does not name the address the platform moved to")
	}
}

func TestDamagedAuthorityIsReportedAndKept(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, time.Now())
	if err := os.WriteFile(c.ca.certFile(), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openCredentials(dir, "https://127.0.0.1:6443", hosts, time.Now()); err == nil {
		t.Error("a damaged authority was replaced in silence: clients would be locked out without a reason")
	}
	if read(t, c.ca.certFile()) != "not a certificate" {
		t.Error("the damaged file was overwritten")
	}
}

func TestKubeconfigNamesUserAndServer(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, time.Now())
	path, err := c.kubeconfig(filepath.Join(dir, "kubeconfig"), c.server, "system:node:a", []string{"system:nodes"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://127.0.0.1:6443" {
		t.Errorf("server is %q", cfg.Host)
	}
	pair, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "system:node:a" || cert.Subject.Organization[0] != "system:nodes" {
		t.Errorf("the certificate is for %v", cert.Subject)
	}
}
