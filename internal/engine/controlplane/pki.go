package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/keyutil"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// renewBefore is how long before its end a leaf certificate is made anew at the next start.
	renewBefore = 60 * 24 * time.Hour
	// Certificates begin long before they are made, so that a clock that was ahead then, or is behind now, locks nobody
	// out. They are trusted by this cluster only, and their keys are new.
	authorityBackdate = authorityLife
	leafBackdate      = leafLife
)

// authority is a certificate authority whose files are NAME.crt and NAME.key in a folder.
type authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  crypto.Signer
}

// leaf is a certificate to be signed by an authority.
type leaf struct {
	name          string
	user          string
	organizations []string
	hosts         []string
	usage         x509.ExtKeyUsage
}

// files are the paths of a certificate and its key.
type files struct{ cert, key string }

func pairFiles(dir, name string) files {
	return files{cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
}

// openAuthority reads the authority of this name, or makes it.
func openAuthority(dir, name string, now time.Time) (*authority, error) {
	f := pairFiles(dir, name)
	cert, key, err := readPair(f)
	switch {
	case err == nil:
		return &authority{dir: dir, name: name, cert: cert, key: key}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading authority %q: %w", name, err)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key of authority %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "escale-" + name},
		NotBefore:             now.Add(-authorityBackdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err = signAndWrite(f, template, nil, signer, signer)
	if err != nil {
		return nil, fmt.Errorf("making authority %q: %w", name, err)
	}
	return &authority{dir: dir, name: name, cert: cert, key: signer}, nil
}

// certFile is the path of the authority's certificate.
func (a *authority) certFile() string { return pairFiles(a.dir, a.name).cert }

// keyFile is the path of the authority's key.
func (a *authority) keyFile() string { return pairFiles(a.dir, a.name).key }

// issue returns the files of the leaf. What is on disk is kept while it is still good.
func (a *authority) issue(l leaf, now time.Time) (files, error) {
	f := pairFiles(a.dir, l.name)
	if cert, _, err := readPair(f); err == nil && a.stillGood(cert, l, now) {
		return f, nil
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files{}, fmt.Errorf("making key of %q: %w", l.name, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.user, Organization: l.organizations},
		NotBefore:   now.Add(-leafBackdate),
		NotAfter:    now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{l.usage},
	}
	for _, h := range l.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if _, err := signAndWrite(f, template, a.cert, signer, a.key); err != nil {
		return files{}, fmt.Errorf("making certificate %q: %w", l.name, err)
	}
	return f, nil
}

// stillGood says whether a certificate found on disk may serve as l.
func (a *authority) stillGood(cert *x509.Certificate, l leaf, now time.Time) bool {
	if cert.CheckSignatureFrom(a.cert) != nil || now.Before(cert.NotBefore) || now.Add(renewBefore).After(cert.NotAfter) {
		return false
	}
	if cert.Subject.CommonName != l.user || !slices.Equal(cert.Subject.Organization, l.organizations) {
		return false
	}
	for _, h := range l.hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// signAndWrite makes the certificate of signer's key and writes both files. A nil parent makes it self-signed.
func signAndWrite(f files, template, parent *x509.Certificate, signer, parentKey crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	template.SerialNumber = serial
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, signer.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if err := writeKey(f.key, signer); err != nil {
		return nil, err
	}
	if err := writeFile(f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ensureKey makes the key file unless it is there.
func ensureKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making key %q: %w", path, err)
	}
	return writeKey(path, key)
}

func writeKey(path string, key crypto.Signer) error {
	b, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encoding key %q: %w", path, err)
	}
	return writeFile(path, b)
}

func readPair(f files) (*x509.Certificate, crypto.Signer, error) {
	certBlock, err := readPEM(f.cert)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certBlock)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %q: %w", f.cert, err)
	}
	key, err := keyutil.PrivateKeyFromFile(f.key)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("key %q: a %T cannot sign", f.key, key)
	}
	return cert, signer, nil
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%q holds no PEM block", path)
	}
	return block.Bytes, nil
}

// writeFile replaces a file at once, readable by its owner only, and syncs it: a key that was half written when the
// machine stopped would lock everyone out.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return os.Rename(path+".new", path)
}
