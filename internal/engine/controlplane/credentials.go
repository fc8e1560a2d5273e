package controlplane

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// credentials are the files every part of the control plane identifies itself with.
type credentials struct {
	dir         string
	server      string
	ca          *authority
	frontProxy  *authority
	etcd        *authority
	serving     files
	etcdPeer    files
	kubelet     files
	proxyClient files
	accountKey  string
}

// openCredentials reads or makes all certificates and keys. The API server answers at server, "https://host:port", and
// is known by the given names and addresses.
func openCredentials(dir, server string, hosts []string, now time.Time) (*credentials, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making folder of certificates: %w", err)
	}
	c := &credentials{dir: dir, server: server, accountKey: filepath.Join(dir, "service-account.key")}
	var err error
	if c.ca, err = openAuthority(dir, "ca", now); err != nil {
		return nil, err
	}
	if c.frontProxy, err = openAuthority(dir, "front-proxy-ca", now); err != nil {
		return nil, err
	}
	if c.etcd, err = openAuthority(dir, "etcd-ca", now); err != nil {
		return nil, err
	}
	if err := ensureKey(c.accountKey); err != nil {
		return nil, err
	}
	for _, w := range []struct {
		to *files
		by *authority
		l  leaf
	}{
		{&c.serving, c.ca, leaf{name: "apiserver", user: "kube-apiserver", hosts: hosts, usage: x509.ExtKeyUsageServerAuth}},
		{&c.kubelet, c.ca, leaf{name: "apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", organizations: []string{"system:masters"}, usage: x509.ExtKeyUsageClientAuth}},
		{&c.etcdPeer, c.etcd, leaf{name: "etcd-peer", user: "etcd", hosts: []string{"127.0.0.1"}, usage: x509.ExtKeyUsageServerAuth}},
		{&c.proxyClient, c.frontProxy, leaf{name: "front-proxy-client", user: "front-proxy-client", usage: x509.ExtKeyUsageClientAuth}},
	} {
		if *w.to, err = w.by.issue(w.l, now); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// kubeconfig writes a kubeconfig for a user to path and returns the path.
func (c *credentials) kubeconfig(path, server, user string, organizations []string, now time.Time) (string, error) {
	f, err := c.ca.issue(leaf{name: user2file(user), user: user, organizations: organizations, usage: x509.ExtKeyUsageClientAuth}, now)
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(c.ca.certFile())
	if err != nil {
		return "", fmt.Errorf("reading authority: %w", err)
	}
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return "", fmt.Errorf("reading certificate of %q: %w", user, err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return "", fmt.Errorf("reading key of %q: %w", user, err)
	}
	b, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"escale": {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{"escale": {Cluster: "escale", AuthInfo: user}},
		CurrentContext: "escale",
	})
	if err != nil {
		return "", fmt.Errorf("encoding kubeconfig of %q: %w", user, err)
	}
	return path, writeFile(path, b)
}

// user2file turns a user name such as "system:node:a" into a file name.
func user2file(user string) string {
	b := []byte("user-" + user)
	for i, c := range b {
		if c == ':' || c == '/' {
			b[i] = '-'
		}
	}
	return string(b)
}

// NodeCredentials fills the credential fields of a node's configuration: a kubeconfig for its kubelet and the
// certificate its kubelet serves with.
func (c *ControlPlane) NodeCredentials(n *engine.NodeConfig) error {
	now := time.Now()
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return fmt.Errorf("making folder of node %q: %w", n.Name, err)
	}
	user := "system:node:" + n.Name
	path, err := c.creds.kubeconfig(filepath.Join(n.Dir, "kubeconfig"), c.creds.server, user, []string{"system:nodes"}, now)
	if err != nil {
		return err
	}
	serving, err := c.creds.ca.issue(leaf{
		name: "kubelet-" + n.Name, user: user, organizations: []string{"system:nodes"},
		hosts: []string{n.Name, n.Address}, usage: x509.ExtKeyUsageServerAuth,
	}, now)
	if err != nil {
		return err
	}
	n.Kubeconfig, n.ClientCA, n.ServingCert, n.ServingKey = path, c.creds.ca.certFile(), serving.cert, serving.key
	return nil
}
