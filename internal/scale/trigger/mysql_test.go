package trigger

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/client"

	"github.com/escale-dev/escale/internal/scale/trigger/triggertest"
)

func TestMariaDB(t *testing.T) {
	f := fixture{metric: "s2-mysql-test", target: 4}
	server := realServer(t, triggertest.MariaDB("--skip-ssl"), &f)
	f.set = func(t *testing.T, n int) {
		t.Helper()
		conn := mysqlClient(t, server.Address)
		defer conn.Close()
		statements := []string{"CREATE TABLE IF NOT EXISTS jobs (n int)", "DELETE FROM jobs", fmt.Sprintf("INSERT INTO jobs SELECT seq FROM seq_1_to_100 WHERE seq <= %d", n)}
		for _, statement := range statements {
			_, err := conn.Execute(statement)
			must(t, err)
		}
	}
	f.set(t, 0)
	host, port := splitPort(t, server.Address)
	t.Run("by host and port", func(t *testing.T) {
		f := f
		f.config = Config{Type: "mysql", Auth: pairs("password=secret", "username=scaler"), Metadata: map[string]string{
			"host": host, "port": port, "dbName": "test", "query": "SELECT COUNT(*) FROM jobs", "queryValue": "4"}}
		conform(t, f)
	})
	f.set(t, 0)
	t.Run("by a connection string", func(t *testing.T) {
		f := f
		f.config = Config{Type: "mysql", Env: map[string]string{"URL": "scaler:secret@tcp(" + server.Address + ")/test?timeout=2s&charset=latin9,utf8mb4&tls=preferred&time_zone='%2B00:00'"},
			Metadata: map[string]string{"connectionStringFromEnv": "URL", "query": "SELECT COUNT(*) FROM jobs WHERE @@session.time_zone = '+00:00' AND @@character_set_client = 'utf8mb4'", "queryValue": "4"}}
		f.metric = "s2-mysql-" + unfit.Replace("test?timeout=2s&charset=latin9,utf8mb4&tls=preferred&time_zone='%2B00:00'")
		conform(t, f)
	})
	f.set(t, 3)
	conn := mysqlClient(t, server.Address)
	defer conn.Close()
	_, err := conn.Execute("CREATE PROCEDURE depth() BEGIN SELECT COUNT(*) FROM jobs; END")
	must(t, err)
	t.Run("values", func(t *testing.T) {
		for query, want := range map[string]float64{
			"SELECT SUM(n) FROM jobs": 6, "SELECT 1.5e0": 1.5, "SELECT CAST(7 AS UNSIGNED)": 7, "SELECT '2.25'": 2.25, "SELECT n FROM jobs ORDER BY n": 1,
			"CALL depth()": 3, "SELECT -1": 0,
		} {
			source := mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test", query)
			// Twice over the same connection: the first answer must have been read to its end.
			for range 2 {
				if got := mustRead(t, source).Value; got != want {
					t.Errorf("%s gives %v, want %v", query, got, want)
				}
			}
		}
	})
	t.Run("several statements", func(t *testing.T) {
		source := mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test?multiStatements=true", "SET @n = 5; SELECT @n; SELECT 6")
		expect(t, source, 5)
		expect(t, source, 5)
	})
	t.Run("queries that give no number", func(t *testing.T) {
		for query, wrong := range map[string]string{
			"SELECT n FROM jobs WHERE false": "gives no row", "SELECT MAX(n) FROM jobs WHERE false": "gives NULL", "DO 1": "gives no row", "SELECT 1, 2": "2 columns",
			"SELECT 'many'": "gives text", "SELEKT": "syntax", "SELECT REPEAT('x', 3000000)": "larger than",
			"SELECT 1; SELECT 2": "syntax",
		} {
			_, err := mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test", query).Read(t.Context())
			contains(t, err, wrong)
		}
	})
	t.Run("one connection is kept, and replaced when the server ends it", func(t *testing.T) {
		source := mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test", "SELECT CONNECTION_ID()")
		first := mustRead(t, source).Value
		if second := mustRead(t, source).Value; second != first {
			t.Errorf("connection %v, then %v, want the same", first, second)
		}
		_, err := conn.Execute(fmt.Sprintf("KILL %.0f", first))
		must(t, err)
		if third := mustRead(t, source).Value; third == first {
			t.Error("a read over a connection that was ended")
		}
	})
	t.Run("refused", func(t *testing.T) {
		for address, wrong := range map[string]string{
			"scaler:wrong-secret@tcp(" + server.Address + ")/test":               "Access denied",
			"scaler:secret@tcp(" + server.Address + ")/test?tls=true":            "does not support TLS",
			"scaler:secret@tcp(" + server.Address + ")/test?parsetime=1":         "parsetime",
			"scaler:secret@tcp(" + server.Address + ")/nowhere":                  "nowhere",
			"scaler:secret@tcp(" + server.Address + ")/test?collation=of_nobody": "of_nobody",
		} {
			_, err := mysqlSource(t, address, "SELECT 1").Read(t.Context())
			contains(t, err, wrong)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q holds a secret", err)
			}
		}
	})
}

func TestMariaDBWithTLS(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeSelfSigned(t, cert, key)
	server := triggertest.Run(t, triggertest.MariaDB("--ssl-cert="+cert, "--ssl-key="+key))
	query := "SELECT COUNT(*) FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher' AND VARIABLE_VALUE <> ''"
	for parameter, want := range map[string]float64{"skip-verify": 1, "preferred": 1, "false": 0} {
		expect(t, mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test?tls="+parameter, query), want)
	}
	for _, parameter := range []string{"tls=true", "tls=true&allowFallbackToPlaintext=true"} {
		_, err := mysqlSource(t, "scaler:secret@tcp("+server.Address+")/test?"+parameter, query).Read(t.Context())
		contains(t, err, "certificate")
	}
}

// greeting is what a MySQL 8 says first.
const greeting = "\n8.0.0\x00\x01\x00\x00\x00AAAAAAAA\x00\x00\x82\xff\x02\x00\x08\x00\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00BBBBBBBBBBBB\x00mysql_native_password\x00"

// TestMySQLStrangers meets servers that send what the client does not expect.
func TestMySQLStrangers(t *testing.T) {
	for name, c := range map[string]struct{ says, answers, wrong string }{
		"nothing in a packet":      {"\x00\x00\x00\x00", "", "does not speak"},
		"another protocol":         {"SSH-2.0-OpenSSH\r\n", "", "invalid sequence"},
		"a greeting cut short":     {packet(0, "\n8.0"), "", "does not speak"},
		"a demand of the password": {packet(0, greeting), packet(2, "\xfemysql_clear_password\x00"), "allowCleartextPasswords"},
		"a key that is none":       {packet(0, greeting), packet(2, "\xfesha256_password\x00") + packet(4, "\x01no key"), "does not speak"},
		"no end":                   {"\xff\xff\xff\x00" + strings.Repeat("x", 2*mysqlAnswer), "", "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Write([]byte(c.says))
				_, _ = conn.Read(make([]byte, 1024))
				_, _ = conn.Write([]byte(c.answers))
				_, _ = conn.Read(make([]byte, 1024))
			}()
			_, err = mysqlSource(t, "u:password@tcp("+listener.Addr().String()+")/d", "SELECT 1").Read(t.Context())
			contains(t, err, c.wrong)
		})
	}
}

// TestMySQLSilence waits for a server that greets and says no more.
func TestMySQLSilence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	source := mysqlSource(t, "u:p@tcp("+listener.Addr().String()+")/d", "SELECT 1")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(packet(0, greeting)))
		_, _ = conn.Read(make([]byte, 1024))
		cancel()
		<-t.Context().Done()
	}()
	if _, err := source.Read(ctx); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func packet(sequence byte, payload string) string {
	return string([]byte{byte(len(payload)), byte(len(payload) >> 8), 0, sequence}) + payload
}

func TestParseMySQLAddress(t *testing.T) {
	local := mysqlAddress{network: "tcp", address: "127.0.0.1:3306"}
	with := func(change func(*mysqlAddress)) mysqlAddress {
		a := local
		change(&a)
		return a
	}
	for text, want := range map[string]mysqlAddress{
		"/":                          local,
		"/shop":                      with(func(a *mysqlAddress) { a.database = "shop" }),
		"u:p@tcp(db.shop:3307)/shop": {network: "tcp", address: "db.shop:3307", user: "u", password: "p", database: "shop"},
		"u@tcp(db)/a%2Fb":            {network: "tcp", address: "db:3306", user: "u", database: "a/b"},
		"u:p@ss:w/rd@(db)/":          {network: "tcp", address: "db:3306", user: "u", password: "p@ss:w/rd"},
		"@tcp([::1])/":               with(func(a *mysqlAddress) { a.address = "[::1]:3306" }),
		"tcp6([::1]:33)/":            {network: "tcp6", address: "[::1]:33"},
		"u@unix(/run/my.sock)/d":     {network: "unix", address: "/run/my.sock", user: "u", database: "d"},
		"unix/d":                     {network: "unix", address: "/tmp/mysql.sock", database: "d"},
		"/?tls=true":                 with(func(a *mysqlAddress) { a.encrypted = true }),
		"/?tls=False":                local,
		"/?tls=Skip-Verify":          with(func(a *mysqlAddress) { a.encrypted, a.unverified = true, true }),
		"/?tls=preferred":            with(func(a *mysqlAddress) { a.encrypted, a.unverified, a.optional = true, true, true }),
		"/?timeout=2s&readTimeout=500ms&writeTimeout=1s": with(func(a *mysqlAddress) {
			a.timeout, a.readTimeout, a.writeTimeout = 2*time.Second, 500*time.Millisecond, time.Second
		}),
		"/?charset=utf8mb4,utf8&collation=utf8mb4_bin": with(func(a *mysqlAddress) { a.charsets, a.collation = []string{"utf8mb4", "utf8"}, "utf8mb4_bin" }),
		"/?parseTime=true&loc=UTC&interpolateParams=true&allowNativePasswords=true&multiStatements=false&allowOldPasswords=0&": local,
		"/?multiStatements=true&allowCleartextPasswords=true":                                                                  with(func(a *mysqlAddress) { a.statements, a.cleartext = true, true }),
		"/?sql_mode=%27ANSI%27&lock_wait_timeout=2":                                                                            with(func(a *mysqlAddress) { a.variables = []string{"sql_mode = 'ANSI'", "lock_wait_timeout = 2"} }),
	} {
		got, err := parseMySQLAddress(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, wrong := range map[string]string{
		"":                            "none of MySQL",
		"u:p@tcp(db:3306)":            "none of MySQL",
		"u:p@db:3306/d":               "none of MySQL",
		"u:p@tcp(db:3306/d":           "none of MySQL",
		"mysql://u:p@db:3306/d":       "none of MySQL",
		"/%zz":                        "none of MySQL",
		"/?tls=company":               `parameter "tls"`,
		"/?timeout=soon":              `parameter "timeout"`,
		"/?readTimeout=-1s":           `parameter "readTimeout"`,
		"/?serverPubKey=k":            `parameter "serverPubKey"`,
		"/?allowNativePasswords=no":   `parameter "allowNativePasswords"`,
		"/?allowNativePasswords=0":    "only true is supported",
		"/?allowOldPasswords=true":    "only false is supported",
		"/?charset=utf8;drop":         `parameter "charset"`,
		"/?collation=":                `parameter "collation"`,
		"/?time_zone":                 "no value",
		"/?a%20b=1":                   "no name of MySQL",
		"/?multiStatements=sometimes": `parameter "multiStatements"`,
	} {
		_, err := parseMySQLAddress(text)
		contains(t, err, wrong)
	}
}

func FuzzParseMySQLAddress(f *testing.F) {
	for _, seed := range []string{"u:p@tcp(db:3306)/shop?tls=preferred&charset=utf8mb4", "unix(/s)/", "/?a=b&c=%27d%27", "@[::1]/%2F"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseMySQLAddress(text)
		if err != nil {
			return
		}
		if a.address == "" || a.network == "" {
			t.Errorf("%q has no address: %+v", text, a)
		}
		for _, name := range append(a.charsets, a.collation) {
			if name != "" && !mysqlWord.MatchString(name) {
				t.Errorf("%q becomes part of a statement", name)
			}
		}
		if !strings.Contains(text, a.password) {
			t.Errorf("%q is no part of %q", a.password, text)
		}
	})
}

// mysqlSource reads by a query until the test ends.
func mysqlSource(t *testing.T, address, query string) Source {
	t.Helper()
	source, err := New(Config{Type: "mysql", Auth: map[string]string{"connectionString": address}, Metadata: map[string]string{"query": query, "queryValue": "1"}})
	must(t, err)
	t.Cleanup(func() { must(t, source.Close()) })
	return source
}

func mysqlClient(t *testing.T, address string) *client.Conn {
	t.Helper()
	conn, err := client.Connect(address, "scaler", "secret", "test")
	must(t, err)
	return conn
}

// writeSelfSigned writes a certificate that nobody trusts.
func writeSelfSigned(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "database"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o644))
}
