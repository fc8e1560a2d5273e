package trigger

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
)

// certificates is what a server is told and trusted by; every field is PEM or empty.
type certificates struct {
	cert, key, keyPassword, ca string
	// unsafe trusts any server.
	unsafe bool
}

// config makes the settings of TLS connections.
func (c certificates) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.unsafe} //nolint:gosec // the user asked for it with unsafeSsl
	if c.ca != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(c.ca)) {
			return nil, errors.New(`"ca" holds no certificate; give it in PEM`)
		}
		config.RootCAs = pool
	}
	if c.cert == "" || c.key == "" {
		return config, nil
	}
	key, err := c.plainKey()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(c.cert), key)
	if err != nil {
		return nil, fmt.Errorf(`"cert" and "key" are no pair: %w`, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// plainKey decrypts the key if it has a password.
func (c certificates) plainKey() ([]byte, error) {
	if c.keyPassword == "" {
		return []byte(c.key), nil
	}
	block, _ := pem.Decode([]byte(c.key))
	if block == nil {
		return nil, errors.New(`"key" holds no key; give it in PEM`)
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(c.keyPassword))
	if err != nil {
		return nil, errors.New(`"keyPassword" does not open "key"`)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf(`reading "key": %w`, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
