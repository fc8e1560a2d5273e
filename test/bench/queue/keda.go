package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// startKEDA runs KEDA's operator on the namespaces of its contenders. It serves the objects with the platform's own
// definitions, which are of the same group and version; those of KEDA's events are not needed and not there.
func (b *bench) startKEDA(ctx context.Context, operator, dir string, all []contender) (stop func(), err error) {
	var namespaces []string
	for _, c := range all {
		if !c.keda {
			continue
		}
		namespaces = append(namespaces, c.namespace)
		if err := b.prepare(ctx, c); err != nil {
			return nil, err
		}
	}
	if err := b.define(ctx); err != nil {
		return nil, err
	}
	if err := writeCertificates(dir); err != nil {
		return nil, err
	}
	service, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, operator, "--kubeconfig", b.home, "--cert-dir", dir, "--metrics-bind-address=0", "--enable-prometheus-metrics=false",
		"--health-probe-bind-address=0", "--metrics-service-bind-address="+service)
	cmd.Env = append(os.Environ(), "WATCH_NAMESPACE="+strings.Join(namespaces, ","), "POD_NAMESPACE=default", "KEDA_CLUSTER_OBJECT_NAMESPACE=default", "KEDA_RESTRICT_SECRET_ACCESS=")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for _, c := range all {
		if !c.keda {
			continue
		}
		if err := b.adopted(ctx, c); err != nil {
			stop()
			said, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("%w\n%s", err, said[max(0, len(said)-3000):])
		}
	}
	return stop, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// define adds the kinds that KEDA's operator watches and the platform does not serve, with no fields of their own.
func (b *bench) define(ctx context.Context) error {
	definitions := b.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for kind, scope := range map[string]string{"CloudEventSource": "Namespaced", "ClusterCloudEventSource": "Cluster"} {
		if _, err := definitions.Create(ctx, definition(kind, scope), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// writeCertificates makes what the operator's service for its metrics server wants; nobody connects to it here.
func writeCertificates(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keda-operator"}, DNSNames: []string{"keda-operator"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "ca.crt"), certificate, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.crt"), certificate, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
}
