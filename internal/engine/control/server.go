package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/escale-dev/escale/internal/engine"
)

// Platform is what a running platform does when asked. Errors are shown to the person who asked: a sentence, with the
// next step where there is one.
type Platform interface {
	// AddNode starts one more node and returns when it is Ready. An empty name, zone or size (CPUMillis, MemoryBytes)
	// is the platform's to choose; it looks at no other field.
	AddNode(ctx context.Context, want engine.NodeConfig) (engine.NodeConfig, error)
	// RemoveNode stops a node for good and deletes its Node object.
	RemoveNode(ctx context.Context, name string) error
	// LoginURL is the portal's address with a new one-time token.
	LoginURL() string
	// View is what the platform shows of itself under a name, to be answered as JSON; ErrNoView where it shows nothing
	// under that name.
	View(ctx context.Context, name string, query url.Values) (any, error)
}

// ErrNoView says that a platform, perhaps an older one, has nothing to show under a name.
var ErrNoView = errors.New("the platform does not show that")

// Node is a node as asked for, and as it became.
type Node struct {
	// Name of the node. Empty: the next in order.
	Name string `json:"name,omitempty"`
	// Zone of the node. Empty: the next in turn.
	Zone string `json:"zone,omitempty"`
	// CPUMillis and MemoryBytes are what its pods may reserve. 0: an equal share of the machine.
	CPUMillis   int64 `json:"cpuMillis,omitempty"`
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// Address of the node; set in answers only.
	Address string `json:"address,omitempty"`
}

// login is the answer to POST /logins.
type login struct {
	URL string `json:"url"`
}

// failure is the answer when a request could not be carried out.
type failure struct {
	Error string `json:"error"`
}

// maxBody is far more than any request has.
const maxBody = 64 << 10

// stopGrace is how long requests may take to end after Serve's context has.
const stopGrace = time.Second

// Serve answers on l, which it closes, until ctx ends.
func Serve(ctx context.Context, l net.Listener, p Platform) error {
	srv := &http.Server{
		Handler:           handler(p),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if unhook() {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	<-stopped
	return nil
}

func handler(p Platform) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /nodes", func(w http.ResponseWriter, r *http.Request) {
		want, err := decodeNode(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		got, err := p.AddNode(r.Context(), engine.NodeConfig{
			Name: want.Name, Zone: want.Zone, CPUMillis: want.CPUMillis, MemoryBytes: want.MemoryBytes,
		})
		if err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		answer(w, http.StatusCreated, Node{
			Name: got.Name, Zone: got.Zone, Address: got.Address, CPUMillis: got.CPUMillis, MemoryBytes: got.MemoryBytes,
		})
	})
	mux.HandleFunc("DELETE /nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := p.RemoveNode(r.Context(), r.PathValue("name")); err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /logins", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusCreated, login{p.LoginURL()})
	})
	mux.HandleFunc("GET /views/{name}", func(w http.ResponseWriter, r *http.Request) {
		v, err := p.View(r.Context(), r.PathValue("name"), r.URL.Query())
		switch {
		case errors.Is(err, ErrNoView):
			answer(w, http.StatusNotFound, failure{err.Error()})
		case err != nil:
			answer(w, http.StatusConflict, failure{err.Error()})
		default:
			answer(w, http.StatusOK, v)
		}
	})
	return mux
}

// answer writes v. Who asked may be gone; there is nobody to tell then.
func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

var errNegative = errors.New("a node's CPU and memory cannot be negative")
