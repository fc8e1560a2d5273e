package traffic

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
	// keyCA is where a ConfigMap or Secret holds the certificates of authorities.
	keyCA = "ca.crt"
)

// referenceError is why a reference cannot be used, and which of the API's reasons it is.
type referenceError struct {
	cause   referenceCause
	message string
}

type referenceCause int

const (
	invalidReference referenceCause = iota
	invalidKind
	notPermitted
)

func (e *referenceError) Error() string { return e.message }

// certificate reads a certificate and its key from the Secret that an object of the Gateway API refers to. What is
// wrong is told without what the Secret holds.
func (x *index) certificate(from gatewayv1.Kind, namespace string, ref *gatewayv1.SecretObjectReference) (tls.Certificate, error) {
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != kindSecret {
		return tls.Certificate{}, &referenceError{invalidReference, fmt.Sprintf("%q is not a Secret, which alone is supported", ref.Name)}
	}
	name := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if !x.granted(string(from), namespace, reference{kindSecret, name}) {
		return tls.Certificate{}, &referenceError{notPermitted, fmt.Sprintf(
			"no ReferenceGrant in namespace %q lets a %s of namespace %q use Secret %q", name.Namespace, from, namespace, name)}
	}
	x.consulted[reference{kindSecret, name}] = true
	secret := x.secrets[name]
	if secret == nil {
		return tls.Certificate{}, &referenceError{invalidReference, fmt.Sprintf(
			"there is no Secret %q of type %q", name, corev1.SecretTypeTLS)}
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return tls.Certificate{}, &referenceError{invalidReference, fmt.Sprintf(
			"Secret %q holds no certificate and key that belong together, in PEM at %q and %q", name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)}
	}
	return pair, nil
}

// authorities is a set of certificate authorities and the PEM it was read from.
type authorities struct {
	pool *x509.CertPool
	pem  []byte
}

// add reads authorities from the ConfigMap or Secret that an object of the Gateway API refers to.
func (a *authorities) add(x *index, from, namespace string, ref *gatewayv1.ObjectReference) error {
	name := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if ref.Group != "" || ref.Kind != kindConfigMap && ref.Kind != kindSecret {
		return &referenceError{invalidKind, fmt.Sprintf("%s %q is neither a ConfigMap nor a Secret", ref.Kind, name)}
	}
	if !x.granted(from, namespace, reference{string(ref.Kind), name}) {
		return &referenceError{notPermitted, fmt.Sprintf(
			"no ReferenceGrant in namespace %q lets a %s of namespace %q use %s %q", name.Namespace, from, namespace, ref.Kind, name)}
	}
	x.consulted[reference{string(ref.Kind), name}] = true
	var content []byte
	if ref.Kind == kindConfigMap {
		if m := x.configMaps[name]; m != nil {
			content = []byte(m.Data[keyCA])
		}
	} else if s := x.secrets[name]; s != nil {
		content = s.Data[keyCA]
	}
	if a.pool == nil {
		a.pool = x509.NewCertPool()
	}
	if err := addPEM(a.pool, content); err != nil {
		return &referenceError{invalidReference, fmt.Sprintf("%s %q holds no certificate in PEM at %q", ref.Kind, name, keyCA)}
	}
	a.pem = append(a.pem, content...)
	return nil
}

var errNoCertificate = errors.New("no certificate in PEM")

// addPEM adds every certificate; one that cannot be read spoils all, so that a typing error is seen.
func addPEM(pool *x509.CertPool, content []byte) error {
	added := false
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		pool.AddCert(c)
		added = true
	}
	if !added {
		return errNoCertificate
	}
	return nil
}

// digest identifies a configuration by all it is made of.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// chainDigest identifies a certificate; keys that belong to the same certificate are the same.
func chainDigest(c tls.Certificate) string { return digest(c.Certificate...) }

// terminator is what TLS is terminated with.
type terminator struct {
	digest       string
	certificates []tls.Certificate
	clients      *x509.CertPool // nil: no client certificate is asked for
	// insecure lets clients without a valid certificate pass.
	insecure bool
	// http offers HTTP's protocols to clients; else the stream's own are left to the client and backend.
	http bool
}

func newTerminator(certificates []tls.Certificate, clients *authorities, insecure, http bool) *terminator {
	t := &terminator{certificates: certificates, insecure: insecure, http: http}
	var parts strings.Builder
	for _, c := range certificates {
		parts.WriteString(chainDigest(c))
	}
	var authority []byte
	if clients != nil {
		t.clients, authority = clients.pool, clients.pem
	}
	t.digest = digest([]byte(parts.String()), authority, fmt.Append(nil, clients != nil, insecure, http))
	return t
}

// config is the configuration for the server's side of a connection. Each terminator has one as long as it is in use,
// so that sessions can be resumed.
func (t *terminator) config() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: t.certificates}
	if t.http {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	switch {
	case t.clients != nil && t.insecure:
		c.ClientAuth = tls.RequestClientCert
	case t.clients != nil:
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, t.clients
	}
	return c
}
