package metricsapi

import (
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
	"math/big"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	serviceNamespace = "kube-system"
	serviceName      = "escale-metrics"
	// serverName is what the aggregator expects the certificate to be for.
	serverName = serviceName + "." + serviceNamespace + ".svc"
	fieldOwner = client.FieldOwner("escale-metrics")
	// certificateLife is how long a server runs at most: its certificate is new at each start.
	certificateLife = 10 * 365 * 24 * time.Hour
)

// servingCertificate makes a certificate that nobody trusts but who is given the bundle.
func servingCertificate(name string, now time.Time) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-certificateLife), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("signing a certificate: %w", err)
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, bundle, nil
}

// register makes the API server pass requests on to address. An API that somebody else serves already is left to them.
func register(ctx context.Context, c client.Client, address net.Addr, bundle []byte) error {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		return fmt.Errorf("address %q cannot be that of a Service", address)
	}
	for _, o := range serviceObjects(tcp) {
		if err := apply(ctx, c, o); err != nil {
			return err
		}
	}
	var errs []error
	for _, g := range groups {
		errs = append(errs, registerGroup(ctx, c, g.name, bundle))
	}
	return errors.Join(errs...)
}

func apply(ctx context.Context, c client.Client, o map[string]any) error {
	u := &unstructured.Unstructured{Object: o}
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("applying %s %q: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

func registerGroup(ctx context.Context, c client.Client, group string, bundle []byte) error {
	name := version + "." + group
	have := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}}
	err := c.Get(ctx, types.NamespacedName{Name: name}, have)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading APIService %q: %w", name, err)
	}
	service, _, _ := unstructured.NestedString(have.Object, "spec", "service", "name")
	namespace, _, _ := unstructured.NestedString(have.Object, "spec", "service", "namespace")
	if err == nil && (service != serviceName || namespace != serviceNamespace) {
		return fmt.Errorf("APIService %q belongs to Service %q in namespace %q: remove it to have Escale serve it", name, service, namespace)
	}
	return apply(ctx, c, apiService(group, bundle))
}

func apiService(group string, bundle []byte) map[string]any {
	return map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": version + "." + group},
		"spec": map[string]any{
			"group": group, "version": version, "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"service":  map[string]any{"namespace": serviceNamespace, "name": serviceName, "port": int64(443)},
			"caBundle": base64.StdEncoding.EncodeToString(bundle),
		},
	}
}

// serviceObjects lead to an address, and let the readers of a namespace read its metrics.
func serviceObjects(address *net.TCPAddr) []map[string]any {
	family := "IPv4"
	if address.IP.To4() == nil {
		family = "IPv6"
	}
	meta := func(labels map[string]any) map[string]any {
		return map[string]any{"namespace": serviceNamespace, "name": serviceName, "labels": labels}
	}
	return []map[string]any{
		{
			"apiVersion": "v1", "kind": "Service", "metadata": meta(map[string]any{}),
			"spec": map[string]any{"ports": []any{map[string]any{"name": "https", "port": int64(443), "protocol": "TCP"}}},
		},
		{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata": meta(map[string]any{
				"kubernetes.io/service-name": serviceName, "endpointslice.kubernetes.io/managed-by": "escale",
			}),
			"addressType": family,
			"ports":       []any{map[string]any{"name": "https", "port": int64(address.Port), "protocol": "TCP"}},
			"endpoints":   []any{map[string]any{"addresses": []any{address.IP.String()}, "conditions": map[string]any{"ready": true}}},
		},
		{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": map[string]any{"name": "escale:aggregated-metrics-reader", "labels": map[string]any{
				"rbac.authorization.k8s.io/aggregate-to-view":  "true",
				"rbac.authorization.k8s.io/aggregate-to-edit":  "true",
				"rbac.authorization.k8s.io/aggregate-to-admin": "true",
			}},
			"rules": []any{map[string]any{
				"apiGroups": []any{metricsGroup}, "resources": []any{"pods", "nodes"}, "verbs": []any{"get", "list"},
			}},
		},
	}
}
