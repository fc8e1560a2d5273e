package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	upstream "github.com/google/go-containerregistry/pkg/registry"
)

const (
	// maxBlob is the most one layer may hold.
	maxBlob = 4 << 30
	// maxManifest is the limit the OCI distribution specification asks registries for at least.
	maxManifest = 4 << 20
	// stopAfter is how long a running transfer may take once the registry stops. Clients keep connections open that
	// they have not used yet, and waiting for those would take five times as long.
	stopAfter = time.Second
)

// Serve answers on ln until ctx ends, keeping everything below dir. It refuses a listener beyond loopback. A transfer
// that outlasts ctx by a second is cut off: it was not acknowledged.
func Serve(ctx context.Context, ln net.Listener, dir string, log *slog.Logger) error {
	if addr, ok := ln.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("registry on %s: it has no login and serves loopback addresses only", ln.Addr())
	}
	h, err := New(dir, log)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopAfter)
		defer cancel()
		if srv.Shutdown(ctx) == nil {
			stopped <- nil
			return
		}
		stopped <- srv.Close()
	})
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("registry on %s: %w", ln.Addr(), err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("stopping the registry: %w", err)
	}
	return nil
}

// handler guards the library's registry.
type handler struct {
	inner     http.Handler
	manifests journal
	uploads   spool
	log       *slog.Logger
}

// New is the registry over the files in dir, which it makes if there are none. One process at a time may use dir.
func New(dir string, log *slog.Logger) (http.Handler, error) {
	store := blobs{dir: filepath.Join(dir, "blobs")}
	h := &handler{
		inner:     upstream.New(upstream.WithBlobHandler(store), upstream.Logger(stdlog.New(io.Discard, "", 0))),
		manifests: journal{dir: filepath.Join(dir, "manifests")},
		uploads:   spool{dir: filepath.Join(dir, "uploads")},
		log:       log,
	}
	// What was being uploaded when the last process ended was never acknowledged.
	if err := os.RemoveAll(h.uploads.dir); err != nil {
		return nil, fmt.Errorf("clearing the registry's uploads: %w", err)
	}
	for _, d := range []string{store.dir, h.manifests.dir, h.uploads.dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("making the registry's folder: %w", err)
		}
	}
	if err := h.manifests.replay(h.inner); err != nil {
		return nil, fmt.Errorf("reading the registry's manifests: %w", err)
	}
	return h, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !localName(r.Host) {
		refuse(w, http.StatusForbidden, "DENIED", fmt.Sprintf("the registry answers to localhost and IP addresses, not %q", r.Host))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBlob)
	var err error
	switch p := parsePath(r.URL.Path); {
	case r.Method == http.MethodDelete:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the registry keeps every revision; nothing is deleted")
	case r.Method == http.MethodPut && p.kind == "manifests":
		err = h.putManifest(w, r, p)
	case r.Method == http.MethodPatch && p.kind == "uploads":
		err = h.uploads.append(w, r, p.target)
	case r.Method == http.MethodPut && p.kind == "uploads":
		err = h.uploads.commit(w, r, p.target, h.inner)
	case r.Method == http.MethodPut || r.Method == http.MethodPatch:
		refuse(w, http.StatusNotFound, "NAME_INVALID", fmt.Sprintf("nothing can be stored at %q", r.URL.Path))
	default:
		h.inner.ServeHTTP(w, r)
	}
	if err != nil {
		h.log.Warn("registry request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
}

// place is what a path of the distribution protocol speaks of.
type place struct {
	repo   string // such as "shop/payment"
	kind   string // "manifests", "blobs", "uploads", or "" for everything else
	target string // a tag or digest, or the name of an upload
}

// parsePath reads /v2/REPO/manifests/TARGET, /v2/REPO/blobs/TARGET and /v2/REPO/blobs/uploads/TARGET, splitting where
// the library does: by the last elements, because a repository's name holds slashes.
func parsePath(path string) place {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(path, "/"), "/v2/")
	elems := strings.Split(rest, "/")
	n := len(elems)
	switch {
	case !ok || n < 3:
		return place{}
	case n > 3 && elems[n-3] == "blobs" && elems[n-2] == "uploads":
		return place{strings.Join(elems[:n-3], "/"), "uploads", elems[n-1]}
	case elems[n-2] == "manifests" || elems[n-2] == "blobs":
		return place{strings.Join(elems[:n-2], "/"), elems[n-2], elems[n-1]}
	}
	return place{}
}

// localName tells whether a Host header can only have come from someone who meant this machine: a web page that
// rebinds its own name to a loopback address sends that name.
func localName(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// refuse answers with an error in the form of the distribution protocol.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`+"\n", code, message)
}
