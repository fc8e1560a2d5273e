package controlplane

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// maxSocketPath is the longest path a Unix socket may have on Linux (sun_path holds 108 bytes with the final zero).
const maxSocketPath = 107

// startEtcd starts a single-member etcd and waits until it serves. Clients reach it through the returned endpoint, a
// Unix socket below dir, which only the owner of dir can open.
func startEtcd(ctx context.Context, dir, logFile string, peer files, peerCA string) (*embed.Etcd, string, error) {
	client := url.URL{Scheme: "unix", Path: filepath.Join(dir, "client.sock")}
	if len(client.Path) > maxSocketPath {
		return nil, "", fmt.Errorf("data directory %q: its path is too long for a socket (%d of at most %d bytes): choose a shorter one with --data-dir", dir, len(client.Path), maxSocketPath)
	}
	cfg := embed.NewConfig()
	cfg.Name = "escale"
	cfg.Dir = filepath.Join(dir, "data")
	// A member of one has no peers, but etcd insists on listening for them: behind mutual TLS with an authority that
	// signs nothing else. (For a peer's Unix socket it would take an abstract one, open to every user of the machine.)
	noPeers := []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = noPeers, noPeers
	cfg.PeerTLSInfo = transport.TLSInfo{CertFile: peer.cert, KeyFile: peer.key, TrustedCAFile: peerCA, ClientCertAuth: true}
	// Nobody is told the client's address either; etcd only wants it to look like one.
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogLevel = "warn"
	cfg.LogOutputs = []string{logFile}
	cfg.QuotaBackendBytes = 8 << 30
	cfg.WarningUnaryRequestDuration = 300 * time.Millisecond
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, "", fmt.Errorf("starting etcd on %q: %w", cfg.Dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, client.String(), nil
	case err := <-e.Err():
		e.Close()
		return nil, "", fmt.Errorf("starting etcd on %q: %w", cfg.Dir, err)
	case <-ctx.Done():
		e.Close()
		return nil, "", fmt.Errorf("starting etcd on %q: %w", cfg.Dir, ctx.Err())
	}
}
